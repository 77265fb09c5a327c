"""A volume as the database keeps it, and around it what the engine knows of it now."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from pydantic import TypeAdapter

from barque.spi.frontend import Volume
from barque.spi.volume import VolumeSpec

__all__ = ["Entry", "StoredVolume", "decode", "encode"]


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A row of the table `volumes`. `unfinished` tells the next daemon what a crash interrupted: `creating` and `removing` (it goes,
    unless a container has it), `filling` (what the image has at its place was being copied into it: it is emptied)."""

    name: str
    driver: str
    created_ns: int
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    unfinished: str = ""

    @property
    def spec(self) -> VolumeSpec:
        """As the driver knows it."""
        return VolumeSpec(self.name, self.options, self.labels)

    def view(self, mountpoint: str, users: tuple[str, ...], scope: str) -> Volume:
        """As a frontend sees it."""
        return Volume(
            self.name, self.driver, mountpoint, self.created_ns, self.options, self.labels, users, scope, self.anonymous
        )  # fmt: skip


class Entry:
    """A volume in the table. `lock` is held while its driver works for it; `stored` is None before it is made, `gone` afterwards and
    when it could not be made. `users` are ids of containers, guarded by the table's lock."""

    __slots__ = ("gone", "lock", "stored", "users")

    def __init__(self, stored: StoredVolume | None = None) -> None:
        self.stored = stored
        self.users: set[str] = set()
        self.lock = threading.RLock()
        self.gone = False


@cache
def _adapter() -> TypeAdapter[StoredVolume]:
    return TypeAdapter(StoredVolume)


def encode(stored: StoredVolume) -> str:
    """As the JSON document of the database."""
    return _adapter().dump_json(stored).decode()


def decode(document: str) -> StoredVolume:
    """The inverse of `encode`. Errors: ValueError (pydantic's)."""
    return _adapter().validate_json(document)
