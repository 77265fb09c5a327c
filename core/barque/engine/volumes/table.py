"""The table of volumes: making and removing them, each done or undone whenever the daemon is killed (row R3)."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.volumes.names import check_volume_name
from barque.engine.volumes.rows import Entry, StoredVolume, encode
from barque.plugins.facades import VolumeDriver
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.frontend import VolumeRequest
from barque.store.database import Database, Transaction

__all__ = ["VolumeTable"]

_log = logging.getLogger(__name__)


class VolumeTable:
    """All volumes, in memory and in the database. Thread-safe."""

    def __init__(self, drivers: Drivers, database: Database, events: EventBus) -> None:
        self._drivers, self._database, self._events = drivers, database, events
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def take(self, request: VolumeRequest, user: str, *, anonymous: bool = False) -> tuple[Entry, bool]:
        """The volume `request.name`, made if there is none, with the further user (a container's id, or ""); and whether it was made.
        One that was made is to be kept (`keep`, `settled`), else the next daemon removes it.

        Errors: InvalidArgument, Conflict (another driver has it), the driver's."""
        check_volume_name(request.name)
        while True:
            with self._lock:
                entry = self._entries.get(request.name)
                if entry is None:
                    entry = self._entries[request.name] = Entry()
                if user:
                    entry.users.add(user)
            with entry.lock:
                if entry.gone:
                    continue
                try:
                    if entry.stored is not None:
                        _check_driver(entry.stored, request.driver)
                        return entry, False
                    self._make(entry, request, anonymous)
                except BaseException:
                    self.let_go(entry, user)
                    raise
                return entry, True

    def _make(self, entry: Entry, request: VolumeRequest, anonymous: bool) -> None:
        with ExitStack() as undo:
            undo.callback(self._forget, entry, request.name)
            try:
                driver = self._drivers.volume(request.driver)
            except InvalidArgument as error:
                raise NotFound(
                    f"create {request.name}: error looking up volume plugin {request.driver}: "
                    f'plugin "{request.driver}" not found',
                    hint=error.hint,
                ) from None
            stored = StoredVolume(
                request.name, driver.name, time.time_ns(), dict(request.options), dict(request.labels), anonymous, "creating"
            )  # fmt: skip
            self._database.put("volumes", stored.name, encode(stored))
            undo.callback(self._database.delete, "volumes", stored.name)
            failpoints.hit("volume.create")
            _create(driver, stored)
            failpoints.hit("volume.created")
            entry.stored = stored
            undo.pop_all()
        self._publish(stored, "create")

    def keep(self, entry: Entry) -> None:
        """It is finished: durable."""
        with self._database.transaction() as change:
            self.settled(entry, change)

    def settled(self, entry: Entry, change: Transaction) -> None:
        """It is finished, when that transaction is."""
        if entry.stored is not None and entry.stored.unfinished:
            entry.stored = replace(entry.stored, unfinished="")
            change.put("volumes", entry.stored.name, encode(entry.stored))

    def filling(self, entry: Entry) -> None:
        """It will be filled: until it is settled the next daemon empties it. Nothing for one that is not finished anyway."""
        if entry.stored is not None and not entry.stored.unfinished:
            entry.stored = replace(entry.stored, unfinished="filling")
            self._database.put("volumes", entry.stored.name, encode(entry.stored))

    def let_go(self, entry: Entry, user: str) -> None:
        """The container `user` does not have it any more. Idempotent."""
        with self._lock:
            entry.users.discard(user)

    def release(self, name: str, user: str, *, remove: bool) -> None:
        """The same by name; with `remove` the volume goes too, when nobody else has it and its driver can remove it."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            return
        self.let_go(entry, user)
        if remove:
            with suppress(Conflict, NotFound):
                try:
                    self.remove(name, False)
                except BarqueError as error:
                    if isinstance(error, Conflict | NotFound):
                        raise
                    _log.error("volume %s stays: %s", name, error)

    def doom(self, name: str, user: str, change: Transaction) -> None:
        """When that transaction is done the volume is to go, be it by the next daemon, unless somebody beside `user` has it."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.stored is None or entry.users - {user}:
                return
            entry.stored = replace(entry.stored, unfinished="removing")
            change.put("volumes", name, encode(entry.stored))

    def remove(self, name: str, force: bool) -> None:
        """See `Engine.volume_remove`."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            if force:
                return
            raise NotFound(f"get {name}: no such volume", hint="`docker volume ls` shows all volumes")
        with entry.lock:
            if entry.gone or entry.stored is None:
                return
            with self._lock:
                users = ", ".join(sorted(entry.users))
            if users:
                raise Conflict(
                    f"remove {name}: volume is in use - [{users}]", hint="remove those containers before"
                )
            self._remove(entry, entry.stored, force)

    def _existing(self, name: str) -> tuple[Entry, StoredVolume]:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.stored is None:
                raise NotFound(
                    f"get {name}: no such volume", hint="it was removed behind the container's back"
                )
            return entry, entry.stored

    def _remove(self, entry: Entry, stored: StoredVolume, force: bool) -> None:
        failpoints.hit("volume.remove")
        if stored.unfinished != "removing":
            doomed = encode(replace(stored, unfinished="removing"))
            self._database.freeing(lambda change: change.put("volumes", stored.name, doomed))
        failpoints.hit("volume.removing")
        try:
            self._drivers.volume(stored.driver).remove(stored.spec)
        except BarqueError as error:
            if not force:
                entry.stored = replace(stored, unfinished="")
                self._database.put("volumes", stored.name, encode(entry.stored))
                raise
            _log.warning("volume %s: forgotten, though its driver says: %s", stored.name, error)
        failpoints.hit("volume.removed")
        self._database.delete("volumes", stored.name)
        self._publish(stored, "destroy")
        self._forget(entry, stored.name)

    def _forget(self, entry: Entry, name: str) -> None:
        with self._lock:
            entry.gone = True
            entry.stored = None
            if self._entries.get(name) is entry:
                del self._entries[name]

    def _publish(self, stored: StoredVolume, action: str) -> None:
        self._events.publish("volume", action, stored.name, {"driver": stored.driver})


def _check_driver(stored: StoredVolume, driver: str) -> None:
    if driver and driver != stored.driver:
        raise Conflict(
            f"create {stored.name}: driver '{stored.driver}' already has volume '{stored.name}': volume name must be unique",
            hint="choose another name, or leave the driver out",
        )


def _create(driver: VolumeDriver, stored: StoredVolume) -> None:
    try:
        driver.create(stored.spec)
    except BarqueError as error:
        raise type(error)(f"create {stored.name}: {error.message}", hint=error.hint) from error
