"""Views of containers' file systems: detached copies of their mounts, which nobody else sees and which end with their descriptor.

A view of a running container is a clone of the mounts in its namespace, as its processes see them; that of a stopped one is
mounted for the purpose, in a namespace that lives for a moment. Nothing is ever mounted in the host's namespace, nothing
of the container is executed, no device in a view can be opened, and no `..` leads out of one: there is nothing above it.

Entering a namespace takes a process of one thread, and mounting needs the host's paths, so a worker forks an `Opener` before it
jails itself; that one forks a child for each view. Neither looks at what a container has, but for the targets of its mounts.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from barque.shim.mounts import enter_namespace, mount_all
from barque.spi.common import Mount
from barque.spi.errors import BarqueError, FailedPrecondition, Internal, from_wire
from barque.spi.trees.syscalls import (
    CLONE_NEWNS,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    mount_setattr,
    open_tree,
    openat2,
    setns,
)

__all__ = ["Opener"]

_MAX_PACKET = 65536
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE, _OPEN_TREE_CLONE = 0x1000, 0x8000, 0x1
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 0x1, 0x2, 0x4, 0x8
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_MOUNTPOINT_MODE = 0o755


class Opener:
    """The process that makes views for this one. It ends when this one does."""

    def __init__(self, close_in_child: int) -> None:
        """Fork; before this process has a second thread. `close_in_child` is the worker's own line to the daemon."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self._socket.close()
            os.close(close_in_child)
            _serve(theirs)
        theirs.close()

    def view(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """A descriptor of the root of a view. `request`: `write`, it is written to; `recursive`, with what is mounted in it; `mounts`,
        those of a stopped container, made at the directory `place` and read-only with `read_only`; without them `descriptors`
        has the mount namespace of a running one. Errors: FailedPrecondition, PermissionDenied, ResourceExhausted, Internal."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
        packet, fds, _flags, _address = socket.recv_fds(self._socket, _MAX_PACKET, 1)
        if not packet:
            raise Internal("the process that opens views of containers has ended")
        if not fds:
            raise from_wire(json.loads(packet)["error"])
        return fds[0]


def _serve(connection: socket.socket) -> NoReturn:
    """Make views until the other end closes."""
    os.umask(0)
    while True:
        packet, fds, _flags, _address = socket.recv_fds(connection, _MAX_PACKET, 1)
        if not packet:
            os._exit(0)
        child = os.fork()
        if child == 0:
            _answer(connection, json.loads(packet), fds)
        for fd in fds:
            os.close(fd)
        status = os.waitpid(child, 0)[1]
        if status:
            _send_error(connection, Internal(f"making a view of a container ended with status {status}"))


def _answer(connection: socket.socket, request: Mapping[str, Any], fds: Sequence[int]) -> NoReturn:
    """In the child: make one view, send it, end."""
    try:
        view = _mounted(request) if "mounts" in request else _of_namespace(request, fds[0])
        socket.send_fds(connection, [b"{}"], [view])
    except BarqueError as error:
        _send_error(connection, error)
    except OSError as error:
        _send_error(connection, _explained(error))
    except Exception as error:  # noqa: BLE001 - the end of this process; the one that asked is told why
        _send_error(connection, Internal(f"making a view of a container: {type(error).__name__}: {error}"))
    os._exit(0)


def _send_error(connection: socket.socket, error: BarqueError) -> None:
    connection.send(json.dumps({"error": error.to_wire()}).encode())


def _explained(error: OSError) -> BarqueError:
    text = f"making a view of a container: {error.strerror}"
    if error.errno in (errno.EPERM, errno.ENOSYS):
        return FailedPrecondition(text, hint="it needs CAP_SYS_ADMIN and Linux 5.12")
    return Internal(text)


def _of_namespace(request: Mapping[str, Any], namespace: int) -> int:
    """A view of what a running container sees. Its root is the namespace's, wherever its init may have changed its own to."""
    setns(namespace, CLONE_NEWNS)
    return _view("/", request)


def _mounted(request: Mapping[str, Any]) -> int:
    """A view of a stopped container. What is mounted here in full vanishes with this process, the view stays."""
    enter_namespace()
    place = request["place"]
    mounts = [_mount(fields) for fields in request["mounts"]]
    mount_all(place, [mount for mount in mounts if not mount.target])
    for mount in mounts:
        if mount.target:
            _make_target(place, mount)
            mount_all(place, [mount])
    view = _view(place, request)
    if request.get("read_only"):
        mount_setattr(view, _AT_EMPTY_PATH, _RDONLY, 0)
    return view


def _mount(fields: Mapping[str, Any]) -> Mount:
    """With `subpath`, a part of what is below the source: by descriptor, so that nobody leads us out by a link."""
    source = fields["source"]
    if fields.get("subpath"):
        root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        source = f"/proc/self/fd/{openat2(root, os.fsencode(fields['subpath']), os.O_PATH, _RESOLVE)}"
    return Mount(fields["type"], source, tuple(fields["options"]), fields["target"])


def _view(root: str, request: Mapping[str, Any]) -> int:
    recursive = _AT_RECURSIVE if request["recursive"] else 0
    view = open_tree(_AT_FDCWD, root.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC | recursive)
    flags = _NOSUID | _NODEV | _NOEXEC | (0 if request["write"] else _RDONLY)
    mount_setattr(view, _AT_EMPTY_PATH | recursive, flags, 0)
    return view


def _make_target(root: str, mount: Mount) -> None:
    """Make what a bind is mounted on, as a start does: directories, and an empty file for a file."""
    directory = stat.S_ISDIR(os.stat(mount.source).st_mode)
    parent = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    parts = [part for part in os.fsencode(mount.target).split(b"/") if part]
    root_fd = os.dup(parent)
    try:
        for count, name in enumerate(parts, 1):
            path = b"/".join(parts[:count])
            try:
                fd = openat2(root_fd, path, os.O_PATH, _RESOLVE)
            except FileNotFoundError:
                if count < len(parts) or directory:
                    os.mkdir(name, _MOUNTPOINT_MODE, dir_fd=parent)
                else:
                    os.close(
                        os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MOUNTPOINT_MODE, dir_fd=parent)
                    )
                fd = openat2(root_fd, path, os.O_PATH, _RESOLVE)
            os.close(parent)
            parent = fd
    finally:
        os.close(parent)
        os.close(root_fd)
