"""The drivers of the engine's profile, loaded when first asked for."""

from __future__ import annotations

import threading
from typing import TypeVar

from barque.engine.layout import Layout
from barque.plugins.facades import (
    AuthorizationDriver,
    Facade,
    FrontendDriver,
    ImageDriver,
    LogDriver,
    NetworkDriver,
    RuntimeDriver,
    StorageDriver,
    VolumeDriver,
)
from barque.plugins.kinds import kind_named
from barque.plugins.registry import LoadedDriver, Registry
from barque.profiles.model import Profile
from barque.shim.launching import DriverRef
from barque.spi.errors import InvalidArgument

__all__ = ["Drivers"]

F = TypeVar("F", bound=Facade)


class Drivers:
    """Looks instances up by their name in the profile; "" is the kind's default. Thread-safe.

    `storage_in_use` is the default of kind storage: `storagechoice` sets it when the profile names several.
    """

    def __init__(self, profile: Profile, layout: Layout) -> None:
        self.profile = profile
        self.storage_in_use = profile.storage.default
        self._layout = layout
        self._registry = Registry()
        self._lock = threading.Lock()
        self._facades: dict[tuple[str, str], Facade] = {}

    def names(self, kind: str) -> tuple[str, ...]:
        """All instances of a kind in the profile."""
        return tuple(self.profile.section(kind).instances)

    def schemes(self) -> tuple[str, ...]:
        """Image sources that a reference may name (`deb:…`). Not the default one: `registry:2` is an image of a registry."""
        section = self.profile.image
        return tuple(name for name in section.instances if name != section.default)

    def runtime(self, name: str = "") -> RuntimeDriver:
        """Errors: InvalidArgument (`unknown or invalid runtime name: x`)."""
        return self._get("runtime", name, RuntimeDriver, "unknown or invalid runtime name: {}")

    def network(self, name: str) -> NetworkDriver:
        """A network driver."""
        return self._get("network", name, NetworkDriver, "plugin {!r} not found")

    def storage(self, name: str = "") -> StorageDriver:
        """A storage driver."""
        return self._get("storage", name or self.storage_in_use, StorageDriver, "unknown storage driver: {}")

    def storages_left(self) -> tuple[StorageDriver, ...]:
        """The storage drivers of the profile that are not in use now and have something on the disk, from a time when they were."""
        others = [name for name in self.names("storage") if name != self.storage_in_use]
        return tuple(self.storage(name) for name in others if self._layout.driver("storage", name).is_dir())

    def image(self, name: str = "") -> ImageDriver:
        """An image source."""
        return self._get("image", name, ImageDriver, "unknown image source: {}")

    def volume(self, name: str = "") -> VolumeDriver:
        """A volume driver."""
        return self._get("volume", name, VolumeDriver, "plugin {!r} not found")

    def has_data(self, kind: str, name: str) -> bool:
        """Whether an instance, of a kind that has directories, was ever used on this data root. Loads nothing."""
        return self._layout.driver(kind, name).is_dir()

    def authorizations(self) -> tuple[AuthorizationDriver, ...]:
        """All that are asked about a request, in order."""
        names = self.names("authorization")
        return tuple(
            self._get("authorization", n, AuthorizationDriver, "plugin {!r} not found") for n in names
        )

    def log(self, name: str = "") -> LogDriver:
        """A log driver."""
        return self._get("log", name, LogDriver, "logger: no log driver named {!r} is registered")

    def frontend(self, name: str) -> FrontendDriver:
        """A frontend."""
        return self._get("frontend", name, FrontendDriver, "unknown frontend: {}")

    def refs(self) -> tuple[DriverRef, ...]:
        """What the launcher must import: every runtime and log driver of the profile."""
        refs = []
        for kind in ("runtime", "log"):
            for name in self.names(kind):
                driver: Facade = self.runtime(name) if kind == "runtime" else self.log(name)
                refs.append(_ref(driver.loaded))
        return tuple(refs)

    def driver_of(self, kind: str, name: str) -> str:
        """The entry-point name behind an instance."""
        return self.profile.section(kind).instances[name].driver

    def _get(self, kind_name: str, name: str, facade: type[F], unknown: str) -> F:
        section = self.profile.section(kind_name)
        name = name or section.default
        with self._lock:
            known = self._facades.get((kind_name, name))
            if known is None:
                instance = section.instances.get(name)
                if instance is None:
                    raise InvalidArgument(
                        unknown.format(name),
                        hint=f"the profile {self.profile.name!r} has: {', '.join(section.instances)}",
                    )
                root = self._layout.driver(kind_name, name)
                kind = kind_named(kind_name)
                if kind.rooted:
                    root.mkdir(mode=0o700, parents=True, exist_ok=True)
                loaded = self._registry.load(kind, name, instance.driver, instance.options, root)
                known = self._facades[kind_name, name] = facade(self._registry, loaded)
        if not isinstance(known, facade):
            raise TypeError(name)
        return known


def _ref(loaded: LoadedDriver) -> DriverRef:
    found = loaded.found
    config = {name: getattr(loaded.config, name) for name in loaded.config.__dataclass_fields__}
    return DriverRef(loaded.kind.name, loaded.name, found.module, found.attribute, config)
