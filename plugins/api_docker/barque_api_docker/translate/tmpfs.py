"""`HostConfig.Mounts` of type tmpfs: `TmpfsOptions` as options of mount(8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from barque.spi.errors import InvalidArgument
from barque_api_docker.fields import Fields

__all__ = ["tmpfs_options"]

_ALLOWED = ("exec", "noexec")


def tmpfs_options(mount: Fields) -> str:
    """Errors: InvalidArgument."""
    return ",".join(_words(mount))


def _words(mount: Fields) -> Iterator[str]:
    options = mount.part("TmpfsOptions")
    if mount.flag("ReadOnly"):
        yield "ro"
    if mode := options.number("Mode"):
        yield f"mode={mode:o}"
    if size := options.number("SizeBytes"):
        yield f"size={size}"
    raw = options.raw.get("Options") or []
    if not isinstance(raw, list):
        raise InvalidArgument(
            f"invalid JSON: cannot unmarshal into field {options.name_of('Options')} of type [][]string"
        )
    for option in raw:
        yield _further(option)


def _further(option: Any) -> str:
    invalid = 'invalid mount config for type "tmpfs": '
    if not isinstance(option, list) or not 1 <= len(option) <= 2:
        raise InvalidArgument(f"{invalid}invalid option array length")
    if option[0] not in _ALLOWED:
        raise InvalidArgument(f"{invalid}invalid option: {option[0]}")
    if len(option) == 2:
        raise InvalidArgument(f"{invalid}the option {option[0]} takes no value")
    return str(option[0])
