"""One container's cgroups at work: entered, frozen, killed, removed. `plan` makes them.

Entering on v1 is a write of "0" to the file `tasks` by the process itself: for a single thread moving itself the
kernel skips the lock whose grace period makes a write to `cgroup.procs` last 8 to 16 ms (measured on 6.18).
On v2 the process is born in the cgroup (clone3 with CLONE_INTO_CGROUP).
"""

from __future__ import annotations

import errno
import os
import time

from barque.spi.errors import Conflict, FailedPrecondition
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.cgroup.tree import GONE, read_at, walk, write_at
from barque_runtime_native.kernel import syscalls

SIGKILL = 9
REMOVE_SECONDS = 5.0
FREEZE_SECONDS = 5.0


class CgroupEntry:
    """Open files through which a child enters; close them when it is in."""

    def __init__(self, directories: list[str], *, unified: bool) -> None:
        self.tasks: list[int] = []
        self.born_in = -1
        try:
            if not unified:
                for directory in directories:
                    self.tasks.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))
            elif directories:
                self.born_in = os.open(directories[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            self.close()
            raise

    def enter(self) -> None:
        """Move this single-threaded process into the v1 cgroups."""
        for fd in self.tasks:
            os.write(fd, b"0")

    def close(self) -> None:
        """Close the files."""
        for fd in self.tasks:
            os.close(fd)
        self.tasks.clear()
        if self.born_in >= 0:
            os.close(self.born_in)
            self.born_in = -1


def exec_directories(directories: list[str], pid: int, *, unified: bool) -> list[str]:
    """Where a further process enters: on v2 the cgroup of init `pid`, once init has made cgroups below its own.

    A v2 cgroup that hands controllers down takes no processes (EBUSY): a systemd in a container does so.
    """
    if not unified or not directories:
        return directories
    top = directories[0]
    if not read_text(f"{top}/cgroup.subtree_control").strip():
        return directories
    own = read_text(f"/proc/{pid}/cgroup").rpartition("::")[2].strip()
    for directory in (top + own[index:] for index in range(len(own)) if own[index] == "/"):
        # `own` begins above `top`, or at it in a cgroup namespace: the longest tail that exists below `top`
        if ".." not in directory and os.path.isdir(directory):
            return [directory]
    return directories


def main_directory(directories: list[str]) -> str:
    """Of a container's cgroups the one to find and stop its processes by: one that can be frozen, if there is one.
    Empty when the container has none."""
    for each in directories:
        if "/freezer/" in each:
            return each
    return directories[0] if directories else ""


def processes(directory: str) -> set[int]:
    """The pids in a cgroup and those below it; none when it is gone. Of a pid namespace not below ours: none."""
    found: set[int] = set()
    for fd in walk(directory):
        found.update(map(int, read_at(fd, "cgroup.procs").split()))
    found.discard(0)
    return found


def signal_all(directory: str, signal: int) -> int:
    """Signal every process in the cgroup; returns how many there were. A pid that left meanwhile is not touched."""
    pidfds: dict[int, int] = {}
    count = 0
    try:
        for pid in processes(directory):
            try:
                pidfds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        # Listed again now that the pids are held: none can have become another process's.
        for pid in pidfds.keys() & processes(directory) if pidfds else ():
            try:
                syscalls.pidfd_send_signal(pidfds[pid], signal)
                count += 1
            except ProcessLookupError:
                continue
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)
    return count


def kill_all(directory: str) -> None:
    """SIGKILL until nobody is left who could fork; what is frozen, also below, is thawed for its end."""
    if not directory or kill_unified(directory):
        return
    frozen = os.path.exists(f"{directory}/freezer.state")
    if frozen:
        set_frozen(directory, True)
    try:
        for _ in range(100):
            if not signal_all(directory, SIGKILL) or frozen:
                return
    finally:
        if frozen:
            thaw_all(directory)


def kill_unified(directory: str) -> bool:
    """Kill everything in a v2 cgroup and below, frozen or not; False when this is none (or Linux before 5.14)."""
    try:
        fd = os.open(f"{directory}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (*GONE, errno.EACCES):
            return False
        raise
    try:
        os.write(fd, b"1")
    except OSError as error:
        if error.errno not in (*GONE, errno.EOPNOTSUPP):
            raise
        return error.errno != errno.EOPNOTSUPP  # threaded: its processes are signalled one by one
    finally:
        os.close(fd)
    return True


def thaw_all(directory: str) -> None:
    """Thaw a cgroup and all below, which a container can have frozen itself. A v1 process dies only when thawed."""
    for fd in walk(directory):
        if not write_at(fd, "freezer.state", "THAWED"):
            write_at(fd, "cgroup.freeze", "0")


def set_frozen(directory: str, frozen: bool) -> None:
    """Ask to stop or resume every process of a cgroup: of v2, or of the v1 hierarchy `freezer`."""
    files = (("cgroup.freeze", (b"0", b"1")), ("freezer.state", (b"THAWED", b"FROZEN")))
    for file, words in files if directory else ():
        try:
            fd = os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            os.write(fd, words[frozen])
        finally:
            os.close(fd)
        return
    raise FailedPrecondition(
        "the container has no cgroup that can be frozen",
        hint="mount the v1 hierarchy freezer, or have a cgroup delegated to this user",
    )


def freeze(directory: str, frozen: bool) -> None:
    """As `set_frozen`; returns when it has happened. Errors: Conflict when processes cannot be frozen in time: those
    that came in meanwhile are asked again, those that wait in the kernel cannot be."""
    set_frozen(directory, frozen)
    deadline = time.monotonic() + FREEZE_SECONDS
    pause = 0.0002
    while _freezing(directory) is not frozen:
        if time.monotonic() > deadline:
            set_frozen(directory, False)
            raise Conflict(
                f"cgroup {directory} cannot be {'frozen' if frozen else 'thawed'}",
                hint="a process of it waits in the kernel, or a cgroup above it is frozen",
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
        if frozen and pause == 0.02:
            set_frozen(directory, True)


def _freezing(directory: str) -> bool | None:
    """Whether all are frozen; None while some are and some are not. Of v2, `frozen` in cgroup.events."""
    try:
        return "frozen 1" in read_text(f"{directory}/cgroup.events").splitlines()
    except FileNotFoundError:
        state = read_text(f"{directory}/freezer.state").strip()
    return {"FROZEN": True, "THAWED": False}.get(state)


def is_frozen(directory: str) -> bool:
    """Whether `freeze` is in force."""
    files = (("cgroup.freeze", ("1",)), ("freezer.state", ("FROZEN", "FREEZING")))
    for file, words in files if directory else ():
        try:
            return read_text(f"{directory}/{file}").strip() in words
        except OSError as error:
            if error.errno not in GONE:
                raise
    return False


def remove(directories: list[str], *, kill: bool = False) -> None:
    """Remove cgroups, deepest first, with all below; the last exit may take a moment to leave (EBUSY). Gone already is
    fine. With `kill`, processes in them are killed: one can have left the hierarchy that `kill_all` looked at.

    Errors: Conflict when processes stay in one.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    for directory in reversed(directories):
        pause = 0.0002
        while True:
            try:
                _remove_tree(directory)
                break
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"cgroup {directory} is still in use",
                        hint="end the processes in it, then delete again",
                    ) from error
            if kill:
                signal_all(directory, SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def _remove_tree(directory: str) -> None:
    try:
        os.rmdir(directory)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for _ in walk(directory, remove=True):
        continue  # the walk removes what it leaves
    os.rmdir(directory)
