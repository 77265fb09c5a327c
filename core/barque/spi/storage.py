"""Kind `storage`: unpacked layers and containers' root file systems. Entry-point group `barque.storage.v1`.

Vocabulary. A *layer* is one unpacked layer tar, known by its *diff id* (sha256 of the uncompressed tar).
Layers are independent of one another and may be applied in parallel. A *snapshot* is a writable file
system over a list of layers, known by its *key* (a container's id). Neither is mounted by the driver:
`storage_mounts` says how, and the shim mounts in a mount namespace of its own.

Worked example. Image with layers A, B: `apply(A)`, `apply(B)` (any order, at once); `prepare(SnapshotPrepare("c1", (A, B)))`
(bottom first); `mounts("c1")` -> `(Mount("overlay", "overlay", ("lowerdir=…B:…A", "upperdir=…", "workdir=…")),)`;
`remove("c1")`; `remove_layer(B)`.

Hooks run in the daemon, on any thread, several at once. Lower-case digests `sha256:<64 hex>` only; a driver refuses
anything else before it touches the disk. A driver is a class with a frozen stdlib dataclass `Config`, constructed
as `Driver(name, config, root)`: `root` is a directory (0700) of its own. `barque.spi.trees` has what most drivers need:
unpacking in jailed worker processes, packing, comparing and removing trees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from barque.spi.common import Mount, Probe
from barque.spi.markers import needs

__all__ = [
    "MOUNTPOINTS",
    "Change",
    "ChangeKind",
    "IdRange",
    "LayerApply",
    "SnapshotPrepare",
    "StorageCapability",
    "StorageHooks",
    "StorageList",
    "Usage",
]


MOUNTPOINTS = ("dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf")
"""Where the engine mounts something in every container. What the layers lack of them is made by mounting, an empty file or directory
(and /etc): that is no change of the container's."""


class StorageCapability(StrEnum):
    """What a storage driver can do beyond layers and snapshots.

    diff: tell what a snapshot changed and pack it as a layer. verify: compare a layer with its tar. quota: hold a snapshot to a
    size (where the file system can; `storage_prepare` says where it cannot). idmap: shift the owners of layers and snapshot.
    """

    DIFF = "diff"
    VERIFY = "verify"
    QUOTA = "quota"
    IDMAP = "idmap"


@dataclass(frozen=True, slots=True)
class LayerApply:
    """A layer to unpack: `blob` is the path of the (compressed) tar, verified already against its own digest,
    `media_type` as in the manifest. The driver verifies `diff_id` while it unpacks."""

    diff_id: str
    blob: str
    media_type: str


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids `container`… of the container are the host's `host`…, `size` of them; `kind` is `u`, `g` or `b` (both)."""

    kind: str
    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True)
class SnapshotPrepare:
    """A snapshot to make over `layers`, bottom first. Mode and owner of its root are those of the topmost layer that has an entry `./`
    with others than 0755 and user 0. `size`: bytes it may grow to, 0 for no limit. `idmap`: the user
    namespace the container will have, empty for the host's: files of the layers' user 0 belong to that namespace's root."""

    key: str
    layers: tuple[str, ...]
    size: int = 0
    idmap: tuple[IdRange, ...] = ()


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


class ChangeKind(StrEnum):
    """How a path differs from the layers."""

    MODIFIED = "modified"
    ADDED = "added"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One changed path, absolute in the container. A directory is MODIFIED when something in it changed, as Docker has it."""

    path: str
    kind: ChangeKind


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

    def storage_prepare(self, request: SnapshotPrepare) -> None:
        """Make an empty writable snapshot.

        Errors: AlreadyExists, NotFound (a layer is missing), InvalidArgument (key), ResourceExhausted, NotImplemented (a `size`
        or `idmap` without the capability), FailedPrecondition (this file system has no quotas or idmapped mounts; with the remedy).
        """
        raise NotImplementedError

    def storage_mounts(self, key: str) -> tuple[Mount, ...]:
        """How to mount snapshot `key`, in order. Pure. Errors: NotFound."""
        raise NotImplementedError

    def storage_usage(self, key: str) -> Usage:
        """Usage of what was written in snapshot `key`; of a layer when `key` is a diff id. Errors: NotFound."""
        raise NotImplementedError

    @needs(StorageCapability.DIFF)
    def storage_changes(self, key: str) -> tuple[Change, ...]:
        """What snapshot `key` changed, sorted by path, but for empty `MOUNTPOINTS`; also while it is mounted and written to.
        Errors: NotFound."""
        raise NotImplementedError

    @needs(StorageCapability.DIFF)
    def storage_diff(self, key: str, write: Callable[[bytes], object]) -> None:
        """Write what snapshot `key` changed as an uncompressed OCI layer tar (image-spec, "layer"), but for empty `MOUNTPOINTS`.

        Equal trees give equal bytes: entries sorted, nothing of the moment in the headers. Sockets are left out. Also while it is
        mounted; the engine pauses the container when the user wants a consistent picture. `write` may raise: let it pass.
        Errors: NotFound.
        """
        raise NotImplementedError

    @needs(StorageCapability.VERIFY)
    def storage_verify(self, request: LayerApply) -> tuple[str, ...]:
        """Compare the unpacked layer with its tar, content and metadata: what differs, one line each with the path (a hundred
        at most), empty when nothing. Changes nothing. Errors: NotFound (no such layer), InvalidArgument (the tar itself is damaged).
        """
        raise NotImplementedError

    def storage_remove(self, key: str) -> None:
        """Remove snapshot `key`; quick (rename), the space is freed behind. Idempotent. Pre: not mounted."""
        raise NotImplementedError

    def storage_remove_layer(self, diff_id: str) -> None:
        """Remove a layer. Idempotent. Pre: no snapshot uses it (the engine keeps count)."""
        raise NotImplementedError
