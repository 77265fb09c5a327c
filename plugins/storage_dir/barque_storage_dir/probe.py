"""Whether the file system of the driver's root keeps what a container's files have: by trying, not by guessing."""

from __future__ import annotations

import errno
import os
import platform
import stat
from collections.abc import Iterator

from barque.spi import Probe, Problem
from barque.spi.errors import BarqueError
from barque.spi.trees import idmap
from barque.spi.trees.copying import Copier
from barque.spi.trees.places import Places
from barque.spi.trees.xattrs import in_user_namespace

__all__ = ["probe"]

_REMEDY = "put the storage root on a Linux file system: ext4, xfs, btrfs, tmpfs, or NFS with them behind it"
_COST = {
    True: "a container costs the time to make its image's files; blocks are shared",
    False: "a container costs a copy of its image",
}


def probe(places: Places) -> Probe:
    """See `storage_probe`."""
    facts = {"driver": "dir", "root": places.root, "kernel": platform.release()}
    try:
        facts |= _space(places.root)
        with places.scratch() as scratch:
            problems = tuple(Problem(f"the file system {what}", _REMEDY) for what in _lacks(scratch))
            if not problems:
                reflinks = _reflinks(scratch)
                facts["reflink"] = "yes" if reflinks else "no"
                facts["cost"] = _COST[reflinks]
                facts["idmapped_mounts"] = idmap.why_not(scratch) or "yes"
    except (OSError, BarqueError) as error:
        reason = f"the storage root {places.root} cannot be used: {error}"
        problems = (Problem(reason, "make it writable"),)
    return Probe(problems, facts)


def _lacks(scratch: str) -> Iterator[str]:
    """What this file system cannot keep."""
    file = os.path.join(scratch, "file")
    with open(file, "xb") as created:
        created.write(b"data" * 2048)
    for what, attempt in (("symbolic links", os.symlink), ("hard links", os.link)):
        try:
            attempt(file, os.path.join(scratch, what))
        except OSError as error:
            yield f"has no {what}: {error.strerror}"
    try:
        os.mkfifo(os.path.join(scratch, "fifo"))
    except OSError as error:
        yield f"has no named pipes: {error.strerror}"
    os.chmod(file, 0o4751)
    if stat.S_IMODE(os.stat(file).st_mode) != 0o4751:
        yield "does not keep the mode of a file"
    if os.geteuid() == 0:
        yield from _no_owners(file)


def _no_owners(file: str) -> Iterator[str]:
    try:
        os.chown(file, 1, 1)
    except OSError as error:
        if error.errno == errno.EINVAL and in_user_namespace():
            return  # there is no such user here: nothing about the file system
        yield f"does not let root give files away: {error.strerror}"
        return
    if os.stat(file).st_uid != 1:
        yield "does not keep the owner of a file"


def _reflinks(scratch: str) -> bool:
    """Whether a copy shares its blocks with the original."""
    fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    copy = os.path.join(scratch, "copies")
    os.mkdir(copy)
    target = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copier = Copier()
        copier.copy(fd, "file", os.stat("file", dir_fd=fd), target)
        return bool(copier.reflinks)
    finally:
        os.close(target)
        os.close(fd)


def _space(root: str) -> dict[str, str]:
    status = os.statvfs(root)
    return {"free_bytes": str(status.f_bavail * status.f_frsize), "free_inodes": str(status.f_favail)}
