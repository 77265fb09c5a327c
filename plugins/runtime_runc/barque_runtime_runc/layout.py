"""What the driver keeps below its root.

state/ID/        the runtime's own, `--root`
work/ID/         made before the first call, removed by delete: its existence is what makes an id taken
work/ID/cgroups  the cgroup path, to be cleaned when the runtime lost its state
work/ID/pid      init's pid, by the runtime
work/ID/ended    there after a checkpoint that ended the container: the runtime has forgotten it then; holds the bundle's path
work/ID/criu/    CRIU's logs, while it works
work/ID/busy     there while a call of the runtime is under way; left behind when the shim is killed in it
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from barque.spi.errors import AlreadyExists, Internal, InvalidArgument

__all__ = ["Layout"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,1023}")


class Layout:
    """The paths of container `id` below `root`."""

    def __init__(self, root: str, id: str) -> None:
        if not _ID.fullmatch(id):
            raise InvalidArgument(f"invalid container id {id!r}", hint="letters, digits and _.+- only")
        self.root: Final = root
        self.id: Final = id
        self.state_root: Final = f"{root}/state"
        self.work: Final = f"{root}/work/{id}"
        self._busy: Final = f"{self.work}/busy-{os.getpid()}"
        self._criu: Final = f"{self.work}/criu"

    def claim(self) -> None:
        """Take the id. AlreadyExists."""
        for directory in (self.root, self.state_root, os.path.dirname(self.work)):
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        try:
            os.mkdir(self.work, 0o700)
        except FileExistsError:
            raise AlreadyExists(f"container with id exists: {self.id}") from None

    def release(self) -> None:
        """Give the id back. Idempotent."""
        self.remove_criu_directory()
        with suppress(FileNotFoundError):
            for name in os.listdir(self.work):
                os.unlink(f"{self.work}/{name}")
            os.rmdir(self.work)

    def make_criu_directory(self) -> str:
        """A directory for CRIU's logs, empty."""
        self.remove_criu_directory()
        os.mkdir(self._criu, 0o700)
        return self._criu

    def remove_criu_directory(self) -> None:
        """Undo `make_criu_directory`. Idempotent."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._criu):
                os.unlink(f"{self._criu}/{name}")
            os.rmdir(self._criu)

    def note_end(self, bundle: str) -> None:
        """Remember that a checkpoint has ended the container. Idempotent."""
        _write(f"{self.work}/ended", bundle)

    def ended_bundle(self) -> str:
        """The bundle of a container that a checkpoint has ended, else empty."""
        return os.fsdecode(_read(f"{self.work}/ended"))

    def has_state(self) -> bool:
        """Whether the runtime keeps anything of the container, complete or not."""
        return os.path.isdir(f"{self.state_root}/{self.id}")

    def is_claimed(self) -> bool:
        """Whether `claim` was called and `release` not."""
        return os.path.isdir(self.work)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark that a call is under way."""
        os.close(os.open(self._busy, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                os.unlink(self._busy)

    def is_busy(self) -> bool:
        """Whether a call is under way, or was when its shim was killed."""
        try:
            return any(name.startswith("busy-") for name in os.listdir(self.work))
        except FileNotFoundError:
            return False

    def note_cgroups(self, path: str) -> None:
        """Remember the cgroup path of the spec."""
        _write(f"{self.work}/cgroups", path)

    def cgroups(self) -> str:
        """The cgroup path, empty when none was noted."""
        return os.fsdecode(_read(f"{self.work}/cgroups"))

    def new_pid_file(self, *, init: bool) -> str:
        """Where the runtime shall write a pid: init's, or that of an exec.

        Each exec has a name of its own: what a killed one left half-written, runc would refuse to write over.
        """
        return f"{self.work}/{'pid' if init else f'exec-pid-{os.getpid()}-{time.monotonic_ns()}'}"

    def take_pid(self, path: str) -> int:
        """The pid in a pid file; that of an exec is unlinked."""
        pid = _number(_read(path))
        if not pid:
            raise Internal(f"the runtime left no pid for container {self.id}")
        if path != f"{self.work}/pid":
            os.unlink(path)
        return pid

    def read_pid(self) -> int:
        """Init's pid as the runtime wrote it, 0 when it has not."""
        return _number(_read(f"{self.work}/pid"))


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else 0


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, os.fsencode(text))
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
