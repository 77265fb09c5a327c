"""Images and file trees as frontends see them: the part of the engine's facade that `barque.spi.frontend.Engine` inherits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from barque.spi.common import Platform, ProgressSink
from barque.spi.image import Credentials, Distribution, ImageSearch, SearchResult
from barque.spi.storage import Change

__all__ = [
    "CommitRequest",
    "ContentOperations",
    "DiskItem",
    "DiskUsage",
    "Finding",
    "Image",
    "ImportRequest",
    "PathStat",
    "Pruned",
    "Pushed",
    "Removed",
]


@dataclass(frozen=True, slots=True)
class Image:
    """A stored image. `id` is the digest of its config; `names` are `repository:tag`s, `digests` `repository@digest`s,
    the last pulled last. `config` is the parsed OCI image config. `size`: bytes of its unpacked layers, one by one in `layer_sizes`,
    bottom first. `used_ns`: when a container was last made of it or started. `damaged`: what `check` found wrong, empty for nothing."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    manifest_digest: str
    config: Mapping[str, Any]
    diff_ids: tuple[str, ...]
    size: int
    platform: Platform
    pulled_ns: int
    layer_sizes: tuple[int, ...] = ()
    used_ns: int = 0
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What an image removal did: names taken away, digests deleted."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, image by image, and the bytes it freed."""

    removed: tuple[Removed, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Pushed:
    """A pushed image: its tag, and digest and size of the manifest as stored."""

    tag: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """`changes` are Dockerfile instructions (`CMD ["sh"]`); `config` replaces fields of the image's run config (Docker's spelling).
    `repository` empty: an image without a name. `pause`: hold the container still meanwhile."""

    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    changes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    pause: bool = True


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """An image of one layer. `source`: the pieces of a tar, plain or compressed (gzip, zstd, bzip2, xz)."""

    source: Iterable[bytes]
    repository: str = ""
    tag: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class PathStat:
    """A path in a container: last component, size, mode (`st_mode` of stat(2)), modification time, and where a symbolic link leads."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class DiskItem:
    """Bytes on the engine's disk with an owner. `kind`: image, layer, blob, partial, container, log, volume, cache, database, other.
    `owner`: the id or name of what they belong to ("" for the engine itself); `bytes`: allocated, as du(1) counts; `shared`: owners
    in all when more than one needs them; `reclaimable`: nothing needs them now."""

    kind: str
    owner: str
    what: str
    bytes: int
    shared: int = 1
    reclaimable: bool = False


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Every byte below the data root: the sum of `items` is `total`, what du(1) counts there. `layers_bytes`: of all unpacked layers."""

    items: tuple[DiskItem, ...]
    total: int
    layers_bytes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in the store. `kind`: blob, layer, image, container, database; `subject`: digest or id; `images`: who is affected.
    `repaired`: it is right again (or, what cannot be, was marked or taken away; `action` says which)."""

    kind: str
    subject: str
    problem: str
    images: tuple[str, ...] = ()
    repaired: bool = False
    action: str = ""


class ContentOperations(Protocol):
    """The engine's calls about images and containers' files. Rules as for `Engine`."""

    def image_pull(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> tuple[Image, bool]:
        """The image, and whether anything new came. `reference` may carry a scheme."""

    def image_tags(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        cancelled: Callable[[], bool],
    ) -> tuple[str, ...]:
        """References of all images of a repository, for `pull --all-tags`. NotImplemented: this source does not list."""

    def image_push(
        self,
        reference: str,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> Pushed:
        """Push the image of this name. NotFound: `An image does not exist locally with the tag: NAME`."""

    def image_load(self, path: str, progress: ProgressSink) -> tuple[Image, ...]:
        """The images in the archive `path` (docker-archive or OCI layout, plain or compressed), a file of the engine's host."""

    def image_save(self, refs: tuple[str, ...], write: Callable[[bytes], object]) -> None:
        """Write one archive of these images. Nothing is written before all are found. InvalidArgument names a damaged blob."""

    def image_import(self, request: ImportRequest, progress: ProgressSink) -> Image: ...

    def image_list(self) -> tuple[Image, ...]: ...

    def image_get(self, ref: str) -> Image:
        """By name, digest, id or unique prefix of an id. NotFound: `No such image: REF`."""

    def image_remove(self, ref: str, force: bool) -> Removed: ...

    def image_tag(self, ref: str, repository: str, tag: str) -> None: ...

    def image_prune(self, accepts: Callable[[Image], bool]) -> Pruned:
        """Remove the images without a container that `accepts` takes, and everything nothing needs."""

    def image_search(self, search: ImageSearch) -> tuple[SearchResult, ...]: ...

    def image_describe(
        self, reference: str, credentials: Credentials | None, cancelled: Callable[[], bool]
    ) -> Distribution:
        """What the registry has under `reference`, without pulling."""

    def registry_login(self, server: str, credentials: Credentials) -> str:
        """Check credentials: an identity token, or empty. PermissionDenied: `unauthorized: incorrect username or password`."""

    def container_changes(self, ref: str) -> tuple[Change, ...]: ...

    def container_commit(self, ref: str, request: CommitRequest) -> Image: ...

    def container_export(self, ref: str, write: Callable[[bytes], object]) -> None:
        """Write the container's root file system as a tar, without what is mounted in it."""

    def container_path(self, ref: str, path: str) -> PathStat:
        """Stat of a path in the container (not following a last link). NotFound: `Could not find the file PATH in container REF`."""

    def container_read(
        self,
        ref: str,
        path: str,
        begin: Callable[[PathStat], Callable[[bytes], object]],
    ) -> None:
        """Write a path of the container as a tar, named by its last component. `begin` is given its stat before the first byte, and
        returns what the bytes are written to."""

    def container_write(
        self, ref: str, path: str, source: Iterable[bytes], *, no_overwrite: bool, copy_owner: bool
    ) -> None:
        """Unpack a tar (plain or compressed) into the directory `path` of the container. `no_overwrite`: no directory replaces a file nor the
        other way round. The tar's numeric owners are kept; `copy_owner`: all belongs to the container's user, if it has one (as dockerd)."""

    def disk_usage(self) -> DiskUsage: ...

    def content_check(self, *, repair: bool, progress: ProgressSink) -> tuple[Finding, ...]:
        """Verify every blob against its digest and every layer against its tar, and that nothing is missing; with `repair` put right what
        can be (unpack a layer anew, drop a damaged blob so that the next pull brings it) and mark the images of what cannot."""
