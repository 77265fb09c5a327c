"""The job of a worker that fills a volume: the directory of a container's file system, copied into an empty one.

The worker is jailed in an empty directory and has, for each job, a view of the container (`engine.files.views`) and the volume's root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from barque.engine.files.views import Opener
from barque.engine.volumes.copying import copy_directory
from barque.spi.errors import Internal, InvalidArgument, ResourceExhausted
from barque.spi.trees import xattrs
from barque.spi.trees.merge import raise_descriptor_limit
from barque.spi.trees.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from barque.spi.trees.worker import serve

__all__ = ["main", "run"]

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_OPEN = os.O_RDONLY | os.O_DIRECTORY
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def main(argument: str) -> None:
    """The worker's entry point."""
    opener = Opener(int(argument))
    serve(partial(run, opener.view, not xattrs.in_user_namespace()), argument)


def run(
    view: Callable[[Mapping[str, Any], Sequence[int]], int],
    devices: bool,
    job: Mapping[str, Any],
    descriptors: Sequence[int],
) -> Mapping[str, Any]:
    """Do one job; descriptor 0 is the volume's root. `devices`: they can be made here. Errors: InvalidArgument, ResourceExhausted, Internal."""
    raise_descriptor_limit()
    root = view(job["view"], ())
    try:
        source = _source(root, str(job["path"]), bool(job["strict"]))
        if source is None:
            return {"copied": False}
        try:
            copy_directory(source, descriptors[0], devices=devices)
        finally:
            os.close(source)
    except OSError as error:
        text = f"failed to populate volume: copying {job['path']} to volume {job['name']}: {error.strerror}"
        if error.errno in _FULL:
            raise ResourceExhausted(text, hint="free space or inodes on the volume's file system") from error
        raise Internal(text) from error
    finally:
        os.close(root)
    return {"copied": True}


def _source(root: int, path: str, strict: bool) -> int | None:
    """The directory as a program in the container would find it; None when there is none. Errors: InvalidArgument."""
    try:
        return openat2(root, os.fsencode(path), _OPEN, _RESOLVE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        if error.errno == errno.ENOTDIR:
            if strict:
                raise InvalidArgument(f"cannot mount volume over existing file, file exists {path}") from None
            raise InvalidArgument(f"failed to populate volume: source {path} is not directory") from None
        raise
