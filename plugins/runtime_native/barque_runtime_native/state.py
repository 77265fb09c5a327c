"""What is on disk about a container, below ROOT/ID (0700):

    state.json     written once, before anything exists that would have to be cleaned up: the configuration
                   (without seccomp), cgroup directories, bundle, boot id, who creates it
    seccomp.bpf    the compiled filter, for exec: flags (4 bytes, little-endian) and the program
    init           "PID STARTTIME" of init, written by rename when it waits to be started
    start          FIFO: init reads one byte from it, then executes its program
    report         FIFO: init's error after that; end of file means that execve has succeeded

The status follows from these files and the kernel: no `init` is creating (stopped, once its creator is dead), a dead or
foreign pid is stopped, `start` present is created, else running.
"""

from __future__ import annotations

import errno
import os

from barque.spi.errors import AlreadyExists, Conflict, InvalidArgument, NotFound
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.jsontext import dumps, loads
from barque_runtime_native.seccomp.filter import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE, INIT, START, REPORT, SECCOMP = "state.json", "init", "start", "report", "seccomp.bpf"
MAX_ID = 1024
MAX_STATE = 16 << 20
ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
CREATING, CREATED, RUNNING, STOPPED = "creating", "created", "running", "stopped"
# What a running container is told to be whose cgroup is frozen; `status_of` does not look there.
PAUSED = "paused"


def check_id(container: str) -> None:
    """Errors: InvalidArgument for an id that is no plain file name."""
    if (
        not container
        or len(container) > MAX_ID
        or not ID_CHARACTERS.issuperset(container)
        or container[0] == "."
    ):
        raise InvalidArgument(f"invalid container id {container!r}", hint="use letters, digits and _+-.")


class Store:
    """The state of one container."""

    def __init__(self, root: str, container: str) -> None:
        check_id(container)
        self.id = container
        self.directory = f"{root}/{container}"
        # ids do not begin with a dot
        self.pending = f"{root}/.{container}.new"

    def path(self, name: str) -> str:
        """A file of the state."""
        return f"{self.directory}/{name}"

    def make(self, document: dict[str, Any], filter_: Filter | None) -> None:
        """Claim the id and record what a later call, also of another process, needs to know: by one rename, so that
        there is no container without a state. Errors: AlreadyExists."""
        try:
            make_pending(self.pending)
        except FileExistsError:
            raise self._taken() from None
        try:
            write_file(f"{self.pending}/{STATE}", dumps(document))
            if filter_:
                data = filter_.flags.to_bytes(4, "little") + filter_.program
                write_file(f"{self.pending}/{SECCOMP}", data)
            os.rename(self.pending, self.directory)
        except OSError as error:
            remove_directory(self.pending)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise self._taken() from None
            raise

    def _taken(self) -> AlreadyExists:
        return AlreadyExists(f"container with given ID already exists: {self.id}", hint="delete it first")

    def write_init(self, pid: int, starttime: int) -> None:
        """Record init: the container is created."""
        temporary = self.path(INIT + ".new")
        write_file(temporary, f"{pid} {starttime}\n".encode())
        os.rename(temporary, self.path(INIT))

    def read(self) -> dict[str, Any]:
        """The document of `make`. Errors: NotFound; Conflict when it is damaged."""
        try:
            text = read_bounded(self.path(STATE), MAX_STATE)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"container does not exist: {self.id}") from None
        try:
            document = loads(text)
            if not isinstance(document, dict) or document.get("id") != self.id:
                raise ValueError("not the state of this container")
        except (ValueError, RecursionError) as error:
            raise Conflict(
                f"the state of container {self.id} is damaged: {error}", hint="delete it with force"
            ) from error
        return document

    def read_filter(self) -> Filter | None:
        """The seccomp filter of init."""
        try:
            data = read_bounded(self.path(SECCOMP), MAX_STATE)
        except FileNotFoundError:
            return None
        return Filter(data[4:], int.from_bytes(data[:4], "little"))

    def read_init(self) -> tuple[int, int] | None:
        """(pid, start time) of init, or None before it was recorded."""
        try:
            words = read_bounded(self.path(INIT), 64).split()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(words) != 2 or not all(word.isdigit() for word in words):
            return None
        return int(words[0]), int(words[1])

    def remove(self) -> None:
        """Forget the container, and what a creation that was killed at its very start has left."""
        remove_directory(self.directory)
        remove_directory(self.pending)


def make_pending(path: str) -> None:
    """mkdir; its parents are there but for the first container after a boot."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.mkdir(path, 0o700)


def remove_directory(path: str) -> None:
    """Remove a directory of files; half of it gone already is fine."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    for name in names:
        try:
            os.unlink(f"{path}/{name}")
        except FileNotFoundError:
            continue
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return


def status_of(store: Store, document: dict[str, Any]) -> tuple[str, int]:
    """(status, pid): from the kernel; pid is 0 unless the process of that start time lives."""
    init = store.read_init()
    pid, starttime = init or document.get("creator", (0, 0))
    if document.get("boot") != boot_id() or live_starttime(pid) != starttime:
        return STOPPED, 0
    if init is None:
        return CREATING, 0
    return (CREATED if os.path.exists(store.path(START)) else RUNNING), pid


def live_starttime(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone or a zombie (proc_pid_stat(5))."""
    try:
        text = read_text(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def open_process(pid: int, starttime: int) -> int | None:
    """A pidfd of exactly that process; None when it is gone. The check comes after the open, so no pid can be reused between."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if live_starttime(pid) != starttime:
        os.close(pidfd)
        return None
    return pidfd


_boot: str = ""


def boot_id() -> str:
    """Tells one boot of the machine from the next."""
    global _boot
    if not _boot:
        _boot = read_text("/proc/sys/kernel/random/boot_id").strip()
    return _boot


def write_file(path: str, data: bytes) -> None:
    """A new file, 0600."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def read_bounded(path: str, limit: int) -> bytes:
    """A file of at most `limit` bytes. Errors: ValueError when it is longer."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
            limit -= len(part)
            if limit < 0:
                raise ValueError(f"{path} is too long")
    finally:
        os.close(fd)
    return b"".join(parts)
