"""A clone of this process's interpreter that nobody can write through (CVE-2019-5736).

open_tree(2) makes a detached mount of the one file, mount_setattr(2) makes it read-only; a process that is executed from
it has a /proc/self/exe on that mount, and a file that nothing in any mount namespace leads to. An ordinary user may do
neither, but a child of his may, in a user and mount namespace of its own; with the descriptor table shared it needs
to do nothing else. No id has to be mapped for it.
"""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.kernel import syscalls

CLONE_FILES = 0x400
FD_BYTES = 4
EXE = "/proc/self/exe"


def read_only_clone() -> int:
    """A descriptor (close-on-exec) to execute instead of /proc/self/exe. Errors: FailedPrecondition; OSError."""
    try:
        return clone_of(EXE)
    except PermissionError:
        return clone_in_child()


def clone_of(path: str) -> int:
    """A detached read-only clone of the mount of one file."""
    tree = syscalls.open_tree(syscalls.AT_FDCWD, path, syscalls.OPEN_TREE_CLONE)
    try:
        syscalls.mount_setattr(tree, set_=syscalls.MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(tree)
        raise
    return tree


def clone_in_child() -> int:
    """The same, made by a child that has the power to. The file is found by its name, since the mount that this process
    was executed from is not one of the child's, and compared."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = syscalls.clone3(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | CLONE_FILES)
        if pid == 0:
            # Descriptors are shared: this process must close none but its own.
            try:
                os.write(writer, clone_of(os.readlink(EXE)).to_bytes(FD_BYTES, "little"))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.set_blocking(reader, False)
        try:
            tree = int.from_bytes(os.read(reader, FD_BYTES), "little")
        except BlockingIOError:
            raise FailedPrecondition(
                "the interpreter cannot be cloned read-only, so that no container could overwrite it",
                hint="allow this user to make user namespaces (/proc/sys/user/max_user_namespaces)",
            ) from None
    except OSError as error:
        raise FailedPrecondition(
            f"the interpreter cannot be cloned read-only: user namespaces: {error.strerror}",
            hint="allow this user to make user namespaces (/proc/sys/user/max_user_namespaces)",
        ) from error
    finally:
        os.close(reader)
        os.close(writer)
    if not os.path.samestat(os.fstat(tree), os.stat(EXE)):
        os.close(tree)
        raise FailedPrecondition(
            "the interpreter was replaced while it ran, and cannot be protected",
            hint="start the runtime again",
        )
    return tree
