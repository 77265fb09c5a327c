"""The volumes there are."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from barque.engine.volumes.rows import Entry, StoredVolume, decode, encode
from barque.engine.volumes.table import VolumeTable
from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque.spi.frontend import Volume, VolumeRequest
from barque.spi.volume import VolumeCapability

__all__ = ["VolumeService"]

_log = logging.getLogger(__name__)


class VolumeService(VolumeTable):
    """See `Engine` for what frontends ask, `ContainerVolumes` for what containers need. Thread-safe."""

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
