"""A container as the engine holds it: a durable value, and the live state around it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from barque.shim.protocol import ClientAttach
from barque.spi.common import Platform
from barque.spi.frontend import Container, ContainerConfig, ContainerState, ExitStatus
from barque.spi.network import Endpoint
from barque.store.database import Database

__all__ = ["ContainerRecord", "PendingClient", "StoredContainer", "WaitHandle"]


@dataclass(frozen=True, slots=True)
class StoredContainer:
    """What the database keeps. `config` is resolved against the image; `starttime` is init's, in clock ticks since the
    boot `boot_id` names (proc(5), stat field 22), which tells it from a later process with its pid.
    `restart_count`: restarts by its policy since a user started it. `user_stopped`: a user stopped or killed it since then.
    `health_shell`: what runs a CMD-SHELL healthcheck; empty for the usual one."""

    id: str
    name: str
    created_ns: int
    image_id: str
    config: ContainerConfig
    path: str
    args: tuple[str, ...]
    platform: Platform
    runtime: str
    storage: str
    log_driver: str
    log_options: Mapping[str, str]
    hostname: str
    state: ContainerState = field(default_factory=lambda: ContainerState("created"))
    starttime: int = 0
    boot_id: str = ""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    restart_count: int = 0
    user_stopped: bool = False
    health_shell: tuple[str, ...] = ()


_adapter: TypeAdapter[StoredContainer] = TypeAdapter(StoredContainer)


def encode(stored: StoredContainer) -> str:
    """As the JSON document of the database."""
    return _adapter.dump_json(stored).decode()


def decode(document: str) -> StoredContainer:
    """The inverse of `encode`. Errors: ValueError (pydantic's)."""
    return _adapter.validate_json(document)


def unreadable(id: str, document: str) -> StoredContainer:
    """What stands for a row that cannot be decoded: a dead container, to be seen and removed (row R25)."""
    try:
        found = json.loads(document)
        name = str(found["name"])
    except (ValueError, TypeError, KeyError, RecursionError):
        name = id[:12]
    return StoredContainer(
        id=id, name=name, created_ns=0, image_id="", config=ContainerConfig("?"), path="?", args=(),
        platform=Platform(), runtime="", storage="", log_driver="", log_options={}, hostname="",
        state=ContainerState("dead", error="the container's record is damaged"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PendingClient:
    """A client that attached before the start."""

    attach: ClientAttach
    fd: int


class WaitHandle:
    """A `Waiter`: set once."""

    def __init__(self, record: ContainerRecord | None, condition: str) -> None:
        self.condition = condition
        self._record = record
        self._event = threading.Event()
        self._status: ExitStatus | None = None

    def set(self, status: ExitStatus) -> None:
        """Deliver. Only the first counts."""
        if not self._event.is_set():
            self._status = status
            self._event.set()

    def result(self, timeout: float) -> ExitStatus | None:
        """See `Waiter.result`."""
        return self._status if self._event.wait(timeout) else None

    def close(self) -> None:
        """See `Waiter.close`."""
        if self._record is not None:
            with self._record.lock:
                if self in self._record.waiters:
                    self._record.waiters.remove(self)


class ContainerRecord:
    """One container. `lock` guards everything here; operations on one container take turns by it.

    `backoff`: the last wait before a restart by its policy, in seconds. `user_stop`: a user has asked for the end of this run.
    `seen`: what frontends were shown of it, for which value. `kept`: it is to be started again at once, so its end is not to remove it."""

    def __init__(self, stored: StoredContainer) -> None:
        self.stored = stored
        self.lock = threading.RLock()
        self.waiters: list[WaitHandle] = []
        self.pending: list[PendingClient] = []
        self.control: socket.socket | None = None
        self.seen: tuple[StoredContainer, Container] | None = None
        self.removed = False
        self.backoff = 0.0
        self.user_stop = False
        self.kept = False

    @property
    def id(self) -> str:
        return self.stored.id

    @property
    def name(self) -> str:
        return self.stored.name

    @property
    def running(self) -> bool:
        """Whether it has processes; also when they are paused."""
        return self.stored.state.status in ("running", "paused")

    @property
    def restarting(self) -> bool:
        """Whether its policy is about to start it again; it has no processes meanwhile."""
        return self.stored.state.status == "restarting"

    @property
    def active(self) -> bool:
        """What Docker calls running: it is, or is about to."""
        return self.running or self.restarting

    def change(self, database: Database, **fields: Any) -> None:
        """Replace fields of the stored value, durable first."""
        self._store(database, fields, durable=True)

    def note(self, database: Database, **fields: Any) -> None:
        """As `change`, for what means nothing any more after a power cut (which may undo it): the next daemon finds it."""
        self._store(database, fields, durable=False)

    def _store(self, database: Database, fields: Mapping[str, Any], durable: bool) -> None:
        stored = replace(self.stored, **fields)
        database.put("containers", stored.id, encode(stored), durable)
        self.stored = stored

    def exit_status(self) -> ExitStatus:
        """How it ended last. Why a start failed is told to who asked for the start, not to those who wait."""
        state = self.stored.state
        return ExitStatus(state.exit_code, state.finished_ns, state.oom_killed)

    def notify(self, status: ExitStatus, *conditions: str) -> None:
        """Deliver to the waiters for these conditions."""
        for waiter in [w for w in self.waiters if w.condition in conditions]:
            waiter.set(status)
            self.waiters.remove(waiter)
