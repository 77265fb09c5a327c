"""Kind `storage`: unpacked layers and containers' root file systems. Entry-point group `barque.storage.v1`.

Vocabulary. A *layer* is one unpacked layer tar, known by its *diff id* (sha256 of the uncompressed tar).
Layers are independent of one another and may be applied in parallel. A *snapshot* is a writable file
system over a list of layers, known by its *key* (a container's id). Neither is mounted by the driver:
`storage_mounts` says how, and the shim mounts in a mount namespace of its own.

Worked example. Image with layers A, B: `apply(A)`, `apply(B)` (any order, at once); `prepare("c1", (A, B))`
(bottom first); `mounts("c1")` -> `(Mount("overlay", "overlay", ("lowerdir=…B:…A", "upperdir=…", "workdir=…")),)`;
`remove("c1")`; `remove_layer(B)`.

Hooks run in the daemon, on any thread, several at once. Lower-case digests `sha256:<64 hex>` only; a driver refuses
anything else before it touches the disk. A driver is a class with a frozen stdlib dataclass `Config`, constructed
as `Driver(name, config, root)`: `root` is a directory (0700) of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from barque.spi.common import Mount, Probe

__all__ = ["LayerApply", "StorageCapability", "StorageHooks", "StorageList", "Usage"]


class StorageCapability(StrEnum):
    """What a storage driver can do beyond layers and snapshots."""

    QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class LayerApply:
    """A layer to unpack: `blob` is the path of the (compressed) tar, verified already against its own digest,
    `media_type` as in the manifest. The driver verifies `diff_id` while it unpacks."""

    diff_id: str
    blob: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on disk (allocated blocks of regular files, hard links once) and number of inodes."""

    bytes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class StorageList:
    """Diff ids of complete layers, keys of snapshots."""

    layers: tuple[str, ...]
    snapshots: tuple[str, ...]


class StorageHooks:
    """The hooks of kind `storage`."""

    def storage_probe(self) -> Probe:
        """What this host lacks. Changes nothing that lasts, never raises."""
        raise NotImplementedError

    def storage_apply(self, request: LayerApply) -> Usage:
        """Unpack a layer; it becomes visible by one rename, complete and synced, or not at all.

        Idempotent: an existing layer is kept and its usage returned; two concurrent calls for one diff id are
        safe. No entry of the tar can write outside the layer or keep what only the host may have.
        Errors: InvalidArgument (malformed or hostile tar, wrong diff id; the message names the entry), ResourceExhausted.
        """
        raise NotImplementedError

    def storage_list(self) -> StorageList:
        """All complete layers and snapshots. Removes leftovers of a crash that no call in flight owns."""
        raise NotImplementedError

    def storage_prepare(self, key: str, layers: tuple[str, ...]) -> None:
        """Make an empty writable snapshot `key` over `layers`, bottom first.

        Errors: AlreadyExists, NotFound (a layer is missing), InvalidArgument (key), ResourceExhausted.
        """
        raise NotImplementedError

    def storage_mounts(self, key: str) -> tuple[Mount, ...]:
        """How to mount snapshot `key`, in order. Pure. Errors: NotFound."""
        raise NotImplementedError

    def storage_usage(self, key: str) -> Usage:
        """Usage of what was written in snapshot `key`; of a layer when `key` is a diff id. Errors: NotFound."""
        raise NotImplementedError

    def storage_remove(self, key: str) -> None:
        """Remove snapshot `key`; quick (rename), the space is freed behind. Idempotent. Pre: not mounted."""
        raise NotImplementedError

    def storage_remove_layer(self, diff_id: str) -> None:
        """Remove a layer. Idempotent. Pre: no snapshot uses it (the engine keeps count)."""
        raise NotImplementedError
