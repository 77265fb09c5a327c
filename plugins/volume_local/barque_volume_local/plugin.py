"""The driver `local`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi import Probe, hookimpl
from barque.spi.volume import VolumeCapability, VolumeHooks, VolumeSpec

__all__ = ["LocalConfig", "LocalVolumes"]


@dataclass(frozen=True)
class LocalConfig:
    """Configuration of the local driver. It has no options."""


class LocalVolumes(VolumeHooks):
    """Volumes on this host."""

    Config = LocalConfig
    capabilities = frozenset({VolumeCapability.USAGE})

    def __init__(self, name: str, config: LocalConfig, root: str) -> None:
        self.name, self._config, self._root = name, config, root

    @hookimpl
    def volume_probe(self) -> Probe:
        """See VolumeHooks."""
        return Probe()

    @hookimpl
    def volume_create(self, spec: VolumeSpec) -> None:
        """See VolumeHooks."""
        raise NotImplementedError

    @hookimpl
    def volume_remove(self, spec: VolumeSpec) -> None:
        """See VolumeHooks."""
        raise NotImplementedError

    @hookimpl
    def volume_path(self, spec: VolumeSpec) -> str:
        """See VolumeHooks."""
        raise NotImplementedError

    @hookimpl
    def volume_mount(self, spec: VolumeSpec, user: str) -> str:
        """See VolumeHooks."""
        raise NotImplementedError

    @hookimpl
    def volume_unmount(self, spec: VolumeSpec, user: str) -> None:
        """See VolumeHooks."""
        raise NotImplementedError

    @hookimpl
    def volume_restore(self, users: Mapping[str, tuple[str, ...]]) -> None:
        """See VolumeHooks."""

    @hookimpl
    def volume_usage(self, spec: VolumeSpec) -> int:
        """See VolumeHooks."""
        raise NotImplementedError
