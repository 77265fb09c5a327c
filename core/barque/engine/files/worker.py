"""The jobs of a worker that reads and writes containers' files: stat, read, write, export.

The worker is jailed in an empty directory and has, for each job, a view of the container (`tree_views`) and a pipe. The job says
what `view` to open; its last descriptor is the pipe, if there is one, the first that of the view's request.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from barque.engine.files import paths
from barque.engine.files.input import pieces
from barque.engine.files.merge import Merge, Merger
from barque.engine.files.views import Opener
from barque.shim.users import resolve_user
from barque.spi.errors import (
    BarqueError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from barque.spi.trees import xattrs
from barque.spi.trees.header import show
from barque.spi.trees.packing import Packer
from barque.spi.trees.reader import TarReader
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.worker import serve

__all__ = ["FRAME", "MODULE", "main", "run"]

MODULE = "barque.engine.files.worker"
FRAME = 8
"""Hexadecimal digits before the JSON of the stat with which a read begins: its length."""

_MAX_ENTRIES = 50_000_000
_MALFORMED = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EMLINK, errno.EILSEQ,
     errno.EFBIG, errno.EOVERFLOW, errno.EXDEV, errno.ENOENT, errno.ENXIO}
)  # fmt: skip


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(partial(run, Opener(int(argument)).view, not xattrs.in_user_namespace()), argument)


def run(
    view: Callable[[Mapping[str, Any], Sequence[int]], int],
    devices: bool,
    job: Mapping[str, Any],
    descriptors: Sequence[int],
) -> Mapping[str, Any]:
    """Do one job. `devices`: they can be made here. Errors: the closed tree."""
    root = view(job["view"], descriptors[: job["view_descriptors"]])
    try:
        if job["do"] == "stat":
            return _stat(root, job)
        if job["do"] == "read":
            return _read(root, job, descriptors[-1])
        if job["do"] == "export":
            return _export(root, descriptors[-1])
        return _write(root, job, descriptors[-1], devices)
    finally:
        os.close(root)


def _stat(root: int, job: Mapping[str, Any]) -> Mapping[str, Any]:
    path = paths.normalised(job["path"])
    with paths.opened(root, path, job["ref"]) as (directory, name):
        return _described(root, path, directory, name, job["ref"])


def _described(root: int, path: str, directory: int, name: str, ref: str) -> dict[str, Any]:
    try:
        return paths.describe(root, path, directory, name)
    except OSError as error:
        raise paths.path_error(error, path, ref) from error


def _read(root: int, job: Mapping[str, Any], pipe: int) -> Mapping[str, Any]:
    """The stat as a frame, then the tar."""
    path = paths.normalised(job["path"])
    with paths.opened(root, path, job["ref"]) as (directory, name):
        stat = json.dumps(_described(root, path, directory, name, job["ref"])).encode()
        os.write(pipe, b"%0*x%b" % (FRAME, len(stat), stat))
        return _pack(directory, name, os.fsencode(paths.shown_name(path)), pipe, path)


def _export(root: int, pipe: int) -> Mapping[str, Any]:
    return _pack(root, "", b"", pipe, "/")


def _pack(directory: int, name: str, stored: bytes, pipe: int, place: str) -> Mapping[str, Any]:
    writer = TarWriter(pipe)
    try:
        Packer(writer).add(directory, name, stored)
        writer.finish()
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            raise Unavailable("nobody reads the archive any more") from None
        raise Internal(f"reading {place} of the container: {error.strerror}") from error
    return {"entries": writer.entries}


def _write(root: int, job: Mapping[str, Any], pipe: int, devices: bool) -> Mapping[str, Any]:
    path = paths.normalised(job["path"])
    _check_target(root, path, job["ref"])
    owner = _owner(root, job["owner"]) if job["owner"] else None
    merger = Merger(root, Merge(path, owner, job["no_overwrite"], devices))
    try:
        content = pieces(pipe)
        merger.run(TarReader(lambda: next(content, b""), _MAX_ENTRIES))
        for (
            _rest
        ) in content:  # what is behind the end of the tar: who sends it shall not find the pipe closed
            pass
    except OSError as error:
        raise _explained(error, merger.name, path) from error
    return {}


def _check_target(root: int, path: str, ref: str) -> None:
    """The directory must be there, and in a mount that can be written to. Errors: NotFound, InvalidArgument, PermissionDenied."""
    try:
        fd = paths.resolve_directory(root, path)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            raise InvalidArgument("extraction point is not a directory") from None
        raise paths.path_error(error, path, ref) from error
    try:
        read_only = os.fstatvfs(fd).f_flag & os.ST_RDONLY
    finally:
        os.close(fd)
    if read_only and paths.in_mount(root, path):
        raise PermissionDenied("mounted volume is marked read-only")
    if read_only:
        raise PermissionDenied("container rootfs is marked read-only")


def _owner(root: int, user: str) -> tuple[int, int]:
    found = resolve_user(root, user)
    return found.uid, found.gid


def _explained(error: OSError, name: bytes, path: str) -> BarqueError:
    """What a failed system call at the entry `name` means."""
    reason = error.strerror or str(error)
    text = f"copying {show(name)} to {path} of the container: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted(
            text, hint="free space or inodes on the file system of the engine's data root, or of the volume"
        )
    if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return ResourceExhausted(text)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return PermissionDenied(text)
    if error.errno in (errno.ENOTSUP, errno.ENOSYS):
        return FailedPrecondition(text)
    return InvalidArgument(text) if error.errno in _MALFORMED else Internal(text)
