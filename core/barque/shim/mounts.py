"""Mounts a container's root, in a mount namespace of its own."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from barque.shim import kernel
from barque.shim.packets import close_all
from barque.spi.common import Mount
from barque.spi.errors import BarqueError, FailedPrecondition, Internal, PermissionDenied, ResourceExhausted

__all__ = ["enter_namespace", "mount_all"]

_FLAGS = {
    "ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "sync": 0x10, "remount": kernel.MS_REMOUNT,
    "mand": 0x40, "dirsync": 0x80, "noatime": 0x400, "nodiratime": 0x800, "bind": kernel.MS_BIND,
    "rbind": kernel.MS_BIND | kernel.MS_REC, "relatime": 0x200000, "strictatime": 0x1000000, "lazytime": 0x2000000,
    "rw": 0, "suid": 0, "dev": 0, "exec": 0, "async": 0, "defaults": 0,
}  # fmt: skip
_SEPARATOR = re.compile(r"(?<!\\):")
_ESCAPED = re.compile(r"\\(.)")
_MAX_DATA = 4000
"""The kernel copies one page of options, including its own terminating zero."""


def enter_namespace() -> None:
    """Give this process a mount namespace that follows the host's and tells it nothing."""
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE, "")
    except OSError as error:
        raise _refused("make a mount namespace", error) from error


def mount_all(root: str, mounts: Sequence[Mount]) -> None:
    """Mount each of `mounts` on `root` or below it; a target is resolved inside `root`, whatever its links say."""
    for mount in mounts:
        call = _plan(mount)
        try:
            call.execute(root, mount.target)
        except OSError as error:
            raise _refused(
                call.describe("/".join((root, mount.target.strip("/"))).rstrip("/")), error
            ) from error


@dataclass(frozen=True, slots=True)
class _MountCall:
    """One mount(2), checked: `flags` as bits, `data` for the file system, `lower` an overlay's lower directories,
    in the kernel's notation: colons between them, a backslash before a special character. `idmap`: the option that shifts owners."""

    kind: str
    source: str
    flags: int
    data: tuple[str, ...]
    lower: str = ""
    idmap: str = ""

    def describe(self, target: str) -> str:
        """For an error message."""
        return f"mount {self.kind or 'bind'} from {self.source} on {target}"

    def execute(self, root: str, target: str) -> None:
        """Mount. Raises OSError."""
        with _place(root, target) as place:
            self._mount(place)
        extra = self.flags & ~(kernel.MS_BIND | kernel.MS_REC)
        if self.flags & kernel.MS_BIND and extra:  # a bind takes its flags in a second call, on the new mount
            with _place(root, target) as place:
                kernel.mount("none", place, "", kernel.MS_REMOUNT | kernel.MS_BIND | extra, "")

    def _mount(self, place: str) -> None:
        if not self.idmap:
            self._mount_plainly(place)
            return
        from barque.shim import idmapped  # hardly ever: not at the start of every shim

        if self.flags & kernel.MS_BIND:
            idmapped.bind(self.source, place, self.idmap, self.flags)
            return
        lower = [_ESCAPED.sub(r"\1", name) for name in _SEPARATOR.split(self.lower) if name]
        with idmapped.shifted_layers(lower, self.data, self.idmap):
            self._mount_plainly(place)

    def _mount_plainly(self, place: str) -> None:
        data = ",".join((*self.data, *([f"lowerdir={self.lower}"] if self.lower else [])))
        if len(os.fsencode(data)) <= _MAX_DATA:
            kernel.mount(self.source, place, self.kind, self.flags, data)
        else:
            self._mount_by_descriptors(place)

    def _mount_by_descriptors(self, place: str) -> None:
        """Name the lower directories by descriptor, a few bytes each, however long their paths are.

        Relative to /proc/self/fd they are plain numbers; the kernel resolves them once, at the mount.
        """
        if not self.lower:
            raise OSError(errno.E2BIG, "the mount options are longer than a page")
        fds: list[int] = []
        try:
            for name in _SEPARATOR.split(self.lower):
                path = _ESCAPED.sub(r"\1", name)
                fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            os.chdir("/proc/self/fd")
            lower = ":".join(str(fd) for fd in fds)
            kernel.mount(
                self.source, place, self.kind, self.flags, ",".join((*self.data, f"lowerdir={lower}"))
            )
        finally:
            os.chdir("/")
            close_all(fds)


@contextmanager
def _place(root: str, target: str) -> Iterator[str]:
    """A path to mount on: `target` as a process chrooted to `root` would find it."""
    if not target:
        yield root
        return
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = kernel.openat2_in_root(directory, target, os.O_PATH)
    finally:
        os.close(directory)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _plan(mount: Mount) -> _MountCall:
    flags = _FLAGS["bind"] if mount.type == "bind" else 0
    data: list[str] = []
    lower = idmap = ""
    for option in mount.options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif mount.type == "overlay" and option.startswith("lowerdir="):
            lower = option.removeprefix("lowerdir=")
        elif option.startswith("X-mount.idmap=") and mount.type in ("bind", "overlay"):
            idmap = option
        else:
            data.append(option)
    kind = "" if flags & kernel.MS_BIND else mount.type
    return _MountCall(kind, mount.source, flags, tuple(data), lower, idmap)


def _refused(what: str, error: OSError) -> BarqueError:
    message = f"{what}: {error.strerror}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(message, hint="Barque needs CAP_SYS_ADMIN to mount a container's root")
    if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return ResourceExhausted(message)
    if error.errno in (errno.ENODEV, errno.E2BIG):
        return FailedPrecondition(
            message, hint="the kernel does not have that file system, or not in that size"
        )
    return Internal(message)
