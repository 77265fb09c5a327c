"""Mounts whose owners are shifted: the option `X-mount.idmap` of mount(8). Loaded when such a mount occurs.

The kernel takes the map from a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP), which a child makes and takes along when it
ends: the descriptor keeps it. overlayfs itself cannot be shifted, but its layers can (Linux 5.19): each is covered by a shifted
mount of itself while the overlay is mounted, which keeps them to itself from then on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from barque.shim import kernel
from barque.spi.errors import FailedPrecondition, InvalidArgument

__all__ = ["OPTION", "bind", "shifted_layers"]

OPTION = "X-mount.idmap="
_LAST_ID = (1 << 32) - 2
_Range = tuple[int, int, int]


def bind(source: str, place: str, option: str, flags: int) -> None:
    """Mount `source` on `place` with owners shifted. Raises OSError, InvalidArgument, FailedPrecondition."""
    users, groups = _ranges(option)
    namespace = _user_namespace(users, groups)
    try:
        _attach(source, place, namespace, kernel.AT_RECURSIVE if flags & kernel.MS_REC else 0)
    finally:
        os.close(namespace)


@contextmanager
def shifted_layers(lower: Sequence[str], data: Sequence[str], option: str) -> Iterator[None]:
    """For the block, have the directories of an overlay (`lower`, and in `data` upper and work directory) mounted over themselves
    with owners shifted. Raises as `bind`.

    Upper and work directory must be of one mount: their parent is. Host root makes whiteouts and the work directory there for itself, so
    an id of no use on the disk stands for it.
    """
    users, groups = _ranges(option)
    writable = _writable_parent(data)
    covered: list[str] = []
    lower_namespace = _user_namespace(users, groups)
    try:
        upper_namespace = _user_namespace(_with_root(users), _with_root(groups))
        try:
            for path in dict.fromkeys(lower):
                _attach(path, path, lower_namespace, 0)
                covered.append(path)
            if writable:
                _attach(writable, writable, upper_namespace, 0)
                covered.append(writable)
            yield
        finally:
            os.close(upper_namespace)
    finally:
        os.close(lower_namespace)
        for path in reversed(covered):
            kernel.umount2(path, kernel.MNT_DETACH)


def _attach(source: str, place: str, namespace: int, recursive: int) -> None:
    fd = kernel.open_tree(source, kernel.OPEN_TREE_CLONE | kernel.OPEN_TREE_CLOEXEC | recursive)
    try:
        try:
            kernel.mount_setattr(fd, kernel.AT_EMPTY_PATH | recursive, kernel.MOUNT_ATTR_IDMAP, namespace)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):
                raise FailedPrecondition(
                    f"the owners of files in {source} cannot be mapped: {error.strerror}",
                    hint="this needs root, Linux 5.12 (5.19 below overlayfs) and a file system like ext4, xfs or btrfs",
                ) from error
            raise
        kernel.move_mount(fd, place)
    finally:
        os.close(fd)


def _ranges(option: str) -> tuple[list[_Range], list[_Range]]:
    """Users and groups of `u:FIRST:SHIFTED:SIZE g:… b:…`; without a kind, both."""
    users: list[_Range] = []
    groups: list[_Range] = []
    for word in option.removeprefix(OPTION).split(" "):
        kind, *numbers = word.split(":") if not word[:1].isdigit() else ("b", *word.split(":"))
        if (
            kind not in ("u", "g", "b")
            or len(numbers) != 3
            or not all(n.isascii() and n.isdigit() for n in numbers)
        ):
            raise InvalidArgument(f"mount option {option}: {word!r} is no range of ids")
        row = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
        if kind != "g":
            users.append(row)
        if kind != "u":
            groups.append(row)
    if not users or not groups:
        raise InvalidArgument(f"mount option {option}: users and groups need a range each")
    return users, groups


def _with_root(rows: list[_Range]) -> list[_Range]:
    """`rows`, and an id that stands for the host's root if none does."""
    if any(not host for _first, host, _size in rows):
        return rows
    free = _LAST_ID
    while any(first <= free < first + size for first, _host, size in rows):
        free -= 1
    return [*rows, (free, 0, 1)]


def _writable_parent(data: Sequence[str]) -> str:
    """The directory that upper and work directory are in; empty when the overlay has none."""
    options = dict(option.split("=", 1) for option in data if option.startswith(("upperdir=", "workdir=")))
    parents = {os.path.dirname(path) for path in options.values()}
    if len(parents) > 1:
        raise InvalidArgument(
            "an overlay with shifted owners needs its upper and work directory side by side"
        )
    return parents.pop() if parents else ""


def _user_namespace(users: list[_Range], groups: list[_Range]) -> int:
    """A descriptor of a new user namespace with these maps. Raises OSError."""
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(end_write)
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(ready_write, b"1")
            os.read(end_read, 1)  # until our parent has what it wants, or is gone
        finally:
            os._exit(0)
    os.close(ready_write)
    os.close(end_read)
    try:
        if not os.read(ready_read, 1):
            raise FailedPrecondition(
                "the kernel lets nobody make a user namespace", hint="see sysctl user.max_user_namespaces"
            )
        _write_map(child, "uid_map", users)
        _write_map(child, "gid_map", groups)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(end_write)
        os.close(ready_read)
        os.waitpid(child, 0)


def _write_map(child: int, name: str, rows: list[_Range]) -> None:
    text = "".join(f"{first} {shifted} {size}\n" for first, shifted, size in rows)
    fd = os.open(f"/proc/{child}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
