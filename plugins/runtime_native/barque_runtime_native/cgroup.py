"""One container's cgroup in every mounted hierarchy: made, entered, killed, removed.

Entering on v1 is a write of "0" to the file `tasks` by the process itself: for a single thread moving itself the
kernel skips the lock whose grace period makes a write to `cgroup.procs` last 8 to 16 ms (measured on 6.18).
On v2 the process is born in the cgroup (clone3 with CLONE_INTO_CGROUP).
"""

from __future__ import annotations

import errno
import os
import time

from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument
from barque_runtime_native import syscalls
from barque_runtime_native.cgroup_devices import DeviceRule, attach_v2, plan_device_rules, write_v1
from barque_runtime_native.cgroup_layout import Layout, read_text
from barque_runtime_native.cgroup_settings import Setting, plan_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from barque_runtime_native.spec import Section

SIGKILL = 9
REMOVE_SECONDS = 5.0


class CgroupPlan:
    """Directories, settings and device rules of one container."""

    def __init__(self, linux: Section, layout: Layout, container: str) -> None:
        path = linux.text("cgroupsPath") or container
        check_path(path, linux.path("cgroupsPath"))
        resources = linux.section("resources")
        self.layout = layout
        self.directories = {each.name: os.path.normpath(each.directory(path)) for each in layout.hierarchies}
        self.settings: list[Setting] = plan_settings(resources, layout)
        self.rules: list[DeviceRule] = plan_device_rules(resources)
        if self.rules and not layout.unified and layout.of("devices") is None:
            raise FailedPrecondition(
                f"{resources.path('devices')} is set but the cgroup controller devices is not mounted",
                hint="mount the devices hierarchy",
            )

    def describe(self) -> str:
        """One line for people."""
        return f"cgroup {', '.join(self.directories.values())}"

    def create(self) -> list[str]:
        """Make the directories, apply settings and rules; returns the directories that were not there before."""
        made: list[str] = []
        try:
            for hierarchy in self.layout.hierarchies:
                make_directory(self.directories[hierarchy.name], hierarchy.mountpoint, made)
                if "cpuset" in hierarchy.controllers:
                    inherit_cpuset(self.directories[hierarchy.name], hierarchy.mountpoint)
            if self.layout.unified and self.settings:
                self._enable_controllers()
            for setting in self.settings:
                setting.execute(self._directory(setting.controller))
            if self.rules:
                if self.layout.unified:
                    attach_v2(self._directory(""), self.rules)
                else:
                    write_v1(self._directory("devices"), self.rules)
        except BaseException:
            remove(made)
            raise
        return made

    def _directory(self, controller: str) -> str:
        hierarchy = self.layout.hierarchies[0] if self.layout.unified else self.layout.of(controller)
        assert hierarchy is not None  # plan_settings and __init__ have refused what is not mounted
        return self.directories[hierarchy.name]

    def _enable_controllers(self) -> None:
        """Hand the controllers that settings need down from the mount to the parent of the container's cgroup."""
        hierarchy = self.layout.hierarchies[0]
        wanted = {each.controller for each in self.settings if each.controller not in ("cgroup", "")}
        text = " ".join(f"+{name}" for name in sorted(wanted))
        parents = []
        directory = os.path.dirname(self.directories[hierarchy.name])
        while len(directory) >= len(hierarchy.mountpoint):
            parents.append(directory)
            directory = os.path.dirname(directory)
        for parent in reversed(parents):
            if not wanted <= set(read_text(f"{parent}/cgroup.subtree_control").split()):
                Setting("", "cgroup.subtree_control", text, "linux.resources").execute(parent)


class CgroupEntry:
    """Open files through which a child enters; close them when it is in."""

    def __init__(self, directories: list[str], *, unified: bool) -> None:
        self.tasks: list[int] = []
        self.born_in = -1
        try:
            if unified:
                self.born_in = os.open(directories[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            else:
                for directory in directories:
                    self.tasks.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))
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


def check_path(path: str, field: str) -> None:
    """Errors: InvalidArgument for a path that climbs out, or is one of systemd's."""
    if ".." in path.split("/") or not path.strip("/"):
        raise InvalidArgument(f"{field}: {path!r} must name a cgroup below its parent")
    if path.count(":") == 2 and "/" not in path:
        raise InvalidArgument(
            f"{field}: {path!r} is for systemd's cgroup driver, which the native runtime does not use",
            hint="use a path such as /barque/ID",
        )


def make_directory(directory: str, top: str, made: list[str]) -> None:
    """mkdir with parents; the new ones are added to `made`, deepest last."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if len(parent) < len(top):
            raise
        make_directory(parent, top, made)
        make_directory(directory, top, made)
        return
    made.append(directory)


def inherit_cpuset(directory: str, top: str) -> None:
    """A v1 cpuset starts without processors and memory, and takes no task until it has both: copy the parent's."""
    if directory == top or read_text(f"{directory}/cpuset.cpus").strip():
        return
    parent = os.path.dirname(directory)
    inherit_cpuset(parent, top)
    for file in ("cpuset.cpus", "cpuset.mems"):
        Setting("cpuset", file, read_text(f"{parent}/{file}").strip(), "linux.resources.cpu").execute(
            directory
        )


def main_directory(directories: list[str]) -> str:
    """Of a container's cgroups the one to find and stop its processes by: one that can be frozen, if there is one."""
    return next((each for each in directories if "/freezer/" in each), directories[0])


def processes(directory: str) -> Iterator[int]:
    """The pids in a cgroup and those below it; none when it is gone."""
    try:
        for pid in read_text(f"{directory}/cgroup.procs").split():
            yield int(pid)
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return
        raise
    for path in below:
        yield from processes(path)


def signal_all(directory: str, signal: int) -> int:
    """Signal every process in the cgroup; returns how many there were. A pid that left meanwhile is not touched."""
    count = 0
    for pid in set(processes(directory)):
        if not pid:
            continue  # a process of a pid namespace that is not below ours
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in set(processes(directory)):
                syscalls.pidfd_send_signal(pidfd, signal)
                count += 1
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
    return count


def kill_all(directory: str) -> None:
    """SIGKILL until nobody is left who could fork."""
    try:
        Setting("", "cgroup.kill", 1, "cgroup.kill").execute(directory)
    except FailedPrecondition:
        pass
    else:
        return
    frozen = os.path.exists(f"{directory}/freezer.state")
    if frozen:
        freeze(directory, True)
    try:
        for _ in range(100):
            if not signal_all(directory, SIGKILL) or frozen:
                return
    finally:
        if frozen:
            freeze(directory, False)


def freeze(directory: str, frozen: bool) -> None:
    """Stop or resume every process of a cgroup: of v2, or of the v1 hierarchy `freezer`."""
    if os.path.exists(f"{directory}/cgroup.freeze"):
        Setting("", "cgroup.freeze", int(frozen), "cgroup.freeze").execute(directory)
    else:
        Setting("", "freezer.state", "FROZEN" if frozen else "THAWED", "freezer.state").execute(directory)


def is_frozen(directory: str) -> bool:
    """Whether `freeze` is in force."""
    for file, word in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
        try:
            return read_text(f"{directory}/{file}").strip() == word
        except FileNotFoundError:
            continue
    return False


def remove(directories: list[str]) -> None:
    """Remove cgroups, deepest first; the last exit may take a moment to leave (EBUSY). Gone already is fine.

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
                if error.errno != errno.EBUSY:
                    raise
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"cgroup {directory} is still in use",
                        hint="end the processes in it, then delete again",
                    ) from error
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
    with os.scandir(directory) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for path in below:
        _remove_tree(path)
    os.rmdir(directory)
