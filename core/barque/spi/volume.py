"""Kind `volume`: data that outlives containers. Entry-point group `barque.volume.v1`.

Vocabulary. A *volume* is a directory tree with a name. The engine keeps volumes durably (name, driver, options, labels, users) and
asks the driver to make them, to have them ready at a path of the host while containers use them, and to remove them.

Lifecycle: create -> (mount … unmount, once for each using container) -> remove. Hooks run in the daemon, on any
thread, several at once, never two at a time for one volume.

Names are checked before (`[a-zA-Z0-9][a-zA-Z0-9_.-]*`): they are safe as the name of a directory. A driver is a class with a frozen
stdlib dataclass `Config`, constructed as `Driver(name, config, root)`: `root` is a directory (0700) of its own; with attribute
`capabilities: frozenset[VolumeCapability]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from barque.spi.common import Probe
from barque.spi.markers import needs

__all__ = ["VolumeCapability", "VolumeHooks", "VolumeSpec"]


class VolumeCapability(StrEnum):
    """What a volume driver can do beyond volumes.

    usage: tell how many bytes a volume has. global: its volumes are the same on every host that uses it (Docker's scope `global`).
    """

    USAGE = "usage"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A volume: its name, the driver's options (`docker volume create -o`), labels."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class VolumeHooks:
    """The hooks of kind `volume`."""

    def volume_probe(self) -> Probe:
        """What this host lacks for the driver. Changes nothing, never raises."""
        raise NotImplementedError

    def volume_create(self, spec: VolumeSpec) -> None:
        """Make a volume, durably. Idempotent for the same spec; on error nothing is left.

        Errors: InvalidArgument (an option it does not know, or a wrong value), FailedPrecondition, ResourceExhausted.
        """
        raise NotImplementedError

    def volume_remove(self, spec: VolumeSpec) -> None:
        """Remove a volume and its data. Idempotent, also after a crash in the middle. Pre: nobody has it mounted.

        Errors: FailedPrecondition, Unavailable (its storage cannot be reached).
        """
        raise NotImplementedError

    def volume_path(self, spec: VolumeSpec) -> str:
        """Where the volume's root is on this host when it is mounted: what `docker volume inspect` shows. Pure; may be empty."""
        raise NotImplementedError

    def volume_mount(self, spec: VolumeSpec, user: str) -> str:
        """Have the volume ready for `user` (a container's id) and return the path of its root, in the daemon's mount namespace.

        Idempotent for one user. What containers see is that path bind-mounted: a mount made here must be there before.
        Errors: FailedPrecondition, Unavailable (a device or server is missing), NotFound (the volume's data is gone).
        """
        raise NotImplementedError

    def volume_unmount(self, spec: VolumeSpec, user: str) -> None:
        """`user` does not need it any more; with the last user a driver that mounted something unmounts it. Idempotent."""
        raise NotImplementedError

    def volume_restore(self, users: Mapping[str, tuple[str, ...]]) -> None:
        """After the daemon's start: these volumes (by name) are mounted for these users, and no others. What a crash left beyond
        them is unmounted. Idempotent."""
        raise NotImplementedError

    @needs(VolumeCapability.USAGE)
    def volume_usage(self, spec: VolumeSpec) -> int:
        """Bytes a volume takes. May take long; safe beside writers."""
        raise NotImplementedError
