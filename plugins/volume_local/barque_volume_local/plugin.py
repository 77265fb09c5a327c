"""The driver `local`: directories of this host, or what mount(2) can mount on them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.errors import InvalidArgument, Unavailable
from barque.spi.volume import VolumeCapability, VolumeHooks, VolumeSpec
from barque_volume_local import mounting
from barque_volume_local.options import parse
from barque_volume_local.places import Places

if TYPE_CHECKING:
    from barque.spi.trees.pool import WorkerPool

__all__ = ["LocalConfig", "LocalVolumes"]

_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class LocalConfig:
    """Configuration of the local driver. It has no options."""


class LocalVolumes(VolumeHooks):
    """Volumes on this host."""

    Config = LocalConfig
    capabilities = frozenset({VolumeCapability.USAGE})
    conformance_mounted_options: ClassVar = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}

    def __init__(self, name: str, config: LocalConfig, root: str) -> None:
        self.name, self.config, self.root = name, config, root
        self._places = Places(os.path.realpath(root))  # as mountinfo spells it
        self._lock = threading.Lock()
        self._users: dict[str, set[str]] = {}
        self._pool: WorkerPool | None = None

    @hookimpl
    def volume_probe(self) -> Probe:
        """See VolumeHooks."""
        return Probe()

    @hookimpl
    def volume_create(self, spec: VolumeSpec) -> None:
        """See VolumeHooks."""
        self._places.make(_named(spec), parse(spec.options).size)

    @hookimpl
    def volume_remove(self, spec: VolumeSpec) -> None:
        """See VolumeHooks. What a crash or a container left mounted in it is unmounted first: nothing of that may be deleted."""
        self._detach_below(_named(spec))
        self._places.remove(spec.name)
        with self._lock:
            self._users.pop(spec.name, None)

    @hookimpl
    def volume_path(self, spec: VolumeSpec) -> str:
        """See VolumeHooks."""
        return self._places.data(_named(spec))

    @hookimpl
    def volume_mount(self, spec: VolumeSpec, user: str) -> str:
        """See VolumeHooks."""
        path = self._places.data(_named(spec))
        options = parse(spec.options)
        os.close(self._places.open(spec.name))
        if options.device and path not in mounting.mounted_below(path):
            mounting.mount(options, path)
        with self._lock:
            self._users.setdefault(spec.name, set()).add(user)
        return path

    @hookimpl
    def volume_unmount(self, spec: VolumeSpec, user: str) -> None:
        """See VolumeHooks."""
        with self._lock:
            users = self._users.get(_named(spec), set())
            users.discard(user)
            if not users:
                self._users.pop(spec.name, None)
        if not users and parse(spec.options).device:
            while mounting.detach(self._places.data(spec.name)):
                pass

    @hookimpl
    def volume_restore(self, users: Mapping[str, tuple[str, ...]]) -> None:
        """See VolumeHooks."""
        with self._lock:
            self._users = {name: set(ids) for name, ids in users.items() if ids}
            known = set(self._users)
        root = self._places.root
        for path in reversed(mounting.mounted_below(root)):
            if os.path.relpath(path, root).partition("/")[0] not in known:
                mounting.detach(path)
        self._places.sweep()

    @hookimpl
    def volume_usage(self, spec: VolumeSpec) -> int:
        """See VolumeHooks. Allocated blocks of its regular files, hard links once; a worker walks. What is mounted on other file systems
        below is left out."""
        from barque.spi.trees import du

        root = self._places.open(_named(spec))
        out = os.memfd_create("barque-du", os.MFD_CLOEXEC)
        try:
            self._workers().call({"depths": {}}, (root, out), f"measuring volume {spec.name}")
            os.lseek(out, 0, os.SEEK_SET)
            with os.fdopen(os.dup(out), encoding="ascii", errors="surrogateescape") as lines:
                return sum(du.Group(*sums).files for _, *sums in map(json.loads, lines))
        finally:
            os.close(root)
            os.close(out)

    def _workers(self) -> WorkerPool:
        from barque.spi.trees import du
        from barque.spi.trees.pool import WorkerPool

        with self._lock:
            if self._pool is None:
                os.makedirs(self._places.empty, mode=0o700, exist_ok=True)
                self._pool = WorkerPool(du.MODULE, 1, _IDLE_SECONDS, self._places.empty)
            return self._pool

    def _detach_below(self, name: str) -> None:
        directory = os.path.dirname(self._places.data(name))
        while points := mounting.mounted_below(directory):
            if not sum(mounting.detach(path) for path in reversed(points)):
                raise Unavailable(f"cannot unmount {points[-1]}: it belongs to another user namespace")


def _named(spec: VolumeSpec) -> str:
    """The name, looked at once more: a path is made of it. Errors: InvalidArgument."""
    name = spec.name
    if not name or name[0] in ".-_" or "/" in name or "\0" in name:
        raise InvalidArgument(f"{name!r} is no name of a volume")
    return name
