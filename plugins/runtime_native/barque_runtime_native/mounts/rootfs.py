"""Names inside the container's root file system, resolved by the kernel so that no symlink leads out of it.

`openat2(RESOLVE_IN_ROOT)` treats the root's descriptor as `/` for absolute links and `..`; magic links (/proc/self/fd)
are refused. What is missing is made one component at a time. Everything is handed on as a descriptor and never
looked up by name a second time, so a name that an attacker swaps meanwhile has no effect.
"""

from __future__ import annotations

import os
import stat

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls

RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
MAX_LINKS = 40


class Root:
    """The container's root directory, by descriptor."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def open(self, path: str, flags: int = os.O_PATH, *, follow: bool = True) -> int:
        """Open an existing file; `follow=False` refuses a symlink anywhere in the path (ELOOP)."""
        resolve = RESOLVE if follow else RESOLVE | syscalls.RESOLVE_NO_SYMLINKS
        return syscalls.openat2(self.fd, path.lstrip("/") or ".", flags, resolve)

    def directory(self, path: str, mode: int = 0o755) -> int:
        """Open a directory (O_PATH), made with its parents when missing."""
        return self._open_or_make(
            path, os.O_PATH | os.O_DIRECTORY, lambda name, at: os.mkdir(name, mode, dir_fd=at)
        )

    def file(self, path: str) -> int:
        """Open something that is no directory (O_PATH), made as an empty file when missing."""
        return self._open_or_make(path, os.O_PATH, make_file)

    def _open_or_make(self, path: str, flags: int, make_last: Maker) -> int:
        try:
            return self.open(path, flags)
        except FileNotFoundError:
            pass
        self._make(path, make_last)
        return self.open(path, flags)

    def _make(self, path: str, make_last: Maker) -> None:
        """Walk `path`, following links within the root (also dangling ones), and make what is missing."""
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                del done[-1:]
                continue
            parent = self.open("/".join(done), os.O_PATH | os.O_DIRECTORY, follow=False)
            try:
                target = read_link(name, parent)
                if target is None:
                    make = make_last if not pending else make_directory
                    make_missing(name, parent, make)
                    done.append(name)
                    continue
            finally:
                os.close(parent)
            links += 1
            if links > MAX_LINKS:
                raise InvalidArgument(f"{path}: too many symbolic links in the container's root")
            if target.startswith("/"):
                done.clear()
            pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[str, int], None]


def make_directory(name: str, parent: int) -> None:
    """mkdir with mode 0755."""
    os.mkdir(name, 0o755, dir_fd=parent)


def make_file(name: str, parent: int) -> None:
    """An empty file, never through a symlink."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o644, dir_fd=parent))


def make_missing(name: str, parent: int, make: Maker) -> None:
    """Make `name` unless it exists."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        make(name, parent)


def read_link(name: str, parent: int) -> str | None:
    """The target of a symlink; None when `name` is something else or missing."""
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
    except FileNotFoundError:
        return None
    return os.readlink(name, dir_fd=parent)
