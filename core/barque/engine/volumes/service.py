"""The volumes there are."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.volumes.rows import Entry, StoredVolume, decode, encode
from barque.plugins.facades import VolumeDriver
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.frontend import Volume, VolumeRequest
from barque.spi.volume import VolumeCapability
from barque.store.database import Database, Transaction

__all__ = ["VolumeService", "check_volume_name"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_MAX_NAME = 255


class VolumeService:
    """The table of volumes. Thread-safe."""

    def __init__(self, drivers: Drivers, database: Database, events: EventBus) -> None:
        self._drivers, self._database, self._events = drivers, database, events
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    # -- the daemon's start ------------------------------------------------------------------------

    def load(self) -> None:
        """Read what is stored. `settle` must follow when it is known which containers there are."""
        for name, document in self._database.all("volumes"):
            try:
                self._entries[name] = Entry(decode(document))
            except ValueError as error:
                _log.error("volume %s: its record is damaged and it is left out: %s", name, error)

    def settle(self, users: Mapping[str, Iterable[str]], running: Mapping[str, Iterable[str]]) -> None:
        """After `load`: `users` are all containers by volume, `running` those that run. What a crash interrupted is done or undone,
        and what it left mounted is unmounted."""
        for name, ids in users.items():
            if (entry := self._entries.get(name)) is not None:
                entry.users.update(ids)
        self._restore({name: tuple(ids) for name, ids in running.items()})
        for entry in tuple(self._entries.values()):
            stored = entry.stored
            if stored is not None and stored.unfinished:
                try:
                    self._finish(entry, stored, bool(running.get(stored.name)))
                except BarqueError as error:
                    _log.error(
                        "volume %s: %s was interrupted and stays so: %s",
                        stored.name,
                        stored.unfinished,
                        error,
                    )

    def _restore(self, running: Mapping[str, tuple[str, ...]]) -> None:
        for name in self._drivers.names("volume"):
            mine = {v for v, e in self._entries.items() if e.stored is not None and e.stored.driver == name}
            if not mine and not self._drivers.has_data("volume", name):
                continue
            try:
                self._drivers.volume(name).restore({v: running.get(v, ()) for v in mine})
            except BarqueError as error:
                _log.error("volume driver %s: %s", name, error)

    def _finish(self, entry: Entry, stored: StoredVolume, running: bool) -> None:
        driver = self._drivers.volume(stored.driver)
        if stored.unfinished != "filling" and not entry.users:
            driver.remove(stored.spec)
            self._database.delete("volumes", stored.name)
            del self._entries[stored.name]
            return
        if stored.unfinished == "filling" and not running and not stored.options:
            driver.remove(stored.spec)
        if not running:
            driver.create(stored.spec)
        entry.stored = replace(stored, unfinished="")
        self._database.put("volumes", stored.name, encode(entry.stored))

    # -- what frontends ask ------------------------------------------------------------------------

    def all(self) -> tuple[Volume, ...]:
        """See `Engine.volume_list`."""
        with self._lock:
            found = [(e.stored, tuple(sorted(e.users))) for e in self._entries.values()]
        return tuple(self._view(stored, users) for stored, users in found if stored is not None)

    def get(self, name: str) -> Volume:
        """See `Engine.volume_get`."""
        with self._lock:
            entry = self._entries.get(name)
            stored, users = (entry.stored, tuple(sorted(entry.users))) if entry else (None, ())
        if stored is None:
            raise NotFound(f"get {name}: no such volume", hint="`docker volume ls` shows all volumes")
        return self._view(stored, users)

    def create(self, request: VolumeRequest) -> Volume:
        """See `Engine.volume_create`."""
        anonymous = not request.name
        name = request.name or secrets.token_hex(32)
        entry, made = self.take(replace(request, name=name), "", anonymous=anonymous)
        if made:
            with entry.lock:
                self.keep(entry)
        return self.get(name)

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

    def usage(self, name: str) -> int:
        """See `Engine.volume_usage`."""
        volume = self.get(name)
        driver = self._drivers.volume(volume.driver)
        if VolumeCapability.USAGE not in driver.capabilities:
            return -1
        stored = self._entries[name].stored
        return driver.usage(stored.spec) if stored is not None else -1

    def _view(self, stored: StoredVolume, users: tuple[str, ...]) -> Volume:
        try:
            driver = self._drivers.volume(stored.driver)
        except InvalidArgument:  # the profile has that driver no more
            return stored.view("", users, "local")
        scope = "global" if VolumeCapability.GLOBAL in driver.capabilities else "local"
        return stored.view(driver.path(stored.spec), users, scope)

    # -- what containers need ----------------------------------------------------------------------

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

    def mount(self, name: str, user: str) -> str:
        """Have it ready for a container; its root on the host. Errors: NotFound, the driver's."""
        entry, stored = self._existing(name)
        with entry.lock:
            return self._drivers.volume(stored.driver).mount(stored.spec, user)

    def unmount(self, name: str, user: str) -> None:
        """The container needs it no more. Idempotent; what its driver cannot do is logged."""
        try:
            entry, stored = self._existing(name)
            with entry.lock:
                self._drivers.volume(stored.driver).unmount(stored.spec, user)
        except BarqueError as error:
            _log.warning("volume %s: %s", name, error)

    def driver_of(self, name: str) -> str:
        """The name of its driver; "" of one that is gone."""
        with self._lock:
            entry = self._entries.get(name)
            return entry.stored.driver if entry is not None and entry.stored is not None else ""

    def path(self, name: str) -> str:
        """Where its root is on the host; "" of one that is gone, or whose driver does not tell."""
        with suppress(NotFound, InvalidArgument):
            _entry, stored = self._existing(name)
            return self._drivers.volume(stored.driver).path(stored.spec)
        return ""

    def told(self, name: str, action: str, **attributes: str) -> None:
        """Publish an event of it."""
        self._events.publish("volume", action, name, {"driver": self.driver_of(name), **attributes})

    def _existing(self, name: str) -> tuple[Entry, StoredVolume]:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.stored is None:
                raise NotFound(
                    f"get {name}: no such volume", hint="it was removed behind the container's back"
                )
            return entry, entry.stored

    # -- removal -----------------------------------------------------------------------------------

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


def check_volume_name(name: str) -> None:
    """Errors: InvalidArgument, in Docker's words."""
    if len(name) == 1:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _MAX_NAME:
        raise InvalidArgument(f"create {name[:20]}…: volume name is longer than {_MAX_NAME} characters")


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
