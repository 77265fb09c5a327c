"""A further process in a running container, with the container's confinement."""

from __future__ import annotations

import errno
import gc
import os

from barque.spi.errors import BarqueError, Conflict, Internal
from barque_runtime_native.cgroup.control import CgroupEntry, exec_directories, is_frozen, main_directory
from barque_runtime_native.channel import LISTENER, ChildEnd, ParentEnd, make_channel
from barque_runtime_native.create import end_child
from barque_runtime_native.failures import program_error, translate
from barque_runtime_native.init import drop_groups, join_keyring
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.rootfs import Root
from barque_runtime_native.namespaces.namespaces import KINDS, Visit, shared
from barque_runtime_native.privilege import is_rootless
from barque_runtime_native.process.capabilities import ALL
from barque_runtime_native.process.child import Finish, Own, close_all_but, place_stdio, reset_signals
from barque_runtime_native.process.process import Process, set_oom_score, try_oom_score
from barque_runtime_native.spec import Section
from barque_runtime_native.state import RUNNING, Store, open_process, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.late_birth import LateBirth
    from barque_runtime_native.process.cpu_affinity import CpuAffinity
    from barque_runtime_native.seccomp.filter import Filter

ALL_SIGNALS = 2**64 - 1
# Only children of whoever enters these are in them: entered by the parent, around the clone.
FOR_CHILDREN = ("pid", "time")


class Execution:
    """One exec: made in the parent, its `_child` part runs in the child."""

    def __init__(self, container: str, root: str, process: dict[str, Any]) -> None:
        self.store = Store(root, container)
        self.document = self.store.read()
        config = self.document["config"]
        self.process = Process(Section(process, "process"))
        self.process.take_domain(Section(config.get("linux") or {}, "linux"))
        self.affinity = self.process.exec_affinity or affinity_of(config)
        self.process.oom_score_adj = config.get("process", {}).get("oomScoreAdj")
        named = {each["type"] for each in config.get("linux", {}).get("namespaces") or ()}
        self.around = [KINDS[kind][0] for kind in FOR_CHILDREN if kind in named]
        self.joined = sum(KINDS[kind][0] for kind in named if kind not in FOR_CHILDREN)
        self.user = "user" in named
        self.named = named
        self.rootless = is_rootless()
        self.filter: Filter | None = None
        self.stdio: tuple[int, int, int] | None = None
        self.preserved = 0
        self.keyring = True
        self.ignore_paused = False
        self.statuses: tuple[str, ...] = (RUNNING,)
        self.cgroups: list[str] = self.document["cgroups"]
        self.pidfd = -1
        self.late: LateBirth | None = None
        self.seal_first = True
        self.doing = "exec"
        if self.process.terminal:
            # imported here, in the parent: see `process.child`
            from barque_runtime_native.process import console  # noqa: F401

    def run(self) -> tuple[int, int | None]:
        """(pid, console), after the execve. Errors: as `runtime_exec` says."""
        status, _ = status_of(self.store, self.document)
        init = self.store.read_init()
        pidfd = open_process(*init) if init and status in self.statuses else None
        if pidfd is None:
            raise Conflict(f"cannot exec in a {status} container")
        self.pidfd = pidfd
        try:
            if not self.ignore_paused and is_frozen(main_directory(self.document["cgroups"])):
                raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
            self.cgroups = exec_directories(
                self.cgroups, init[0] if init else 0, unified=self.document["unified"]
            )
            self.filter = self.store.read_filter()
            self._plan_birth()
            if self.rootless and init:
                self._keep_shared(init[0])
            return self._clone_and_follow()
        except OSError as error:
            raise translate(error, self.doing) from error
        finally:
            os.close(pidfd)

    def _plan_birth(self) -> None:
        """Whether the program's process is born at the very end. In a user namespace that is not needed: who has
        CAP_SYS_PTRACE there may not trace what is not dumpable outside."""
        if "pid" not in self.named or self.user or self.rootless or self.process.forgets_on_fork:
            return
        # Imported for who needs it, and before the clone.
        from barque_runtime_native.late_birth import LateBirth, can_fork_under

        self.late = LateBirth()
        self.around.remove(syscalls.CLONE_NEWPID)
        self.joined |= syscalls.CLONE_NEWPID
        if self.filter:
            self.seal_first = not self.filter.notifies and can_fork_under(
                self.filter, terminal=self.process.terminal
            )

    def _keep_shared(self, pid: int) -> None:
        """Not to enter what init shares with the runtime: an ordinary user may not, and need not."""
        flags = [flag for flag, file in map(KINDS.__getitem__, self.named) if shared(pid, file)]
        self.around = [flag for flag in self.around if flag not in flags]
        self.joined &= ~sum(flags)

    def _clone_and_follow(self) -> tuple[int, int | None]:
        self.doing = "opening the cgroup"
        own = Own()
        if not self.user:
            self.process.capabilities.warn_of(own.permitted & own.bounding)
        entry = CgroupEntry(self.cgroups, unified=self.document["unified"])
        parent, child = make_channel()
        pid = 0
        try:
            if self.affinity:
                before = os.sched_getaffinity(0)
                self.affinity.set_initial()
            self.doing = "entering the namespaces"
            blocked = syscalls.rt_sigprocmask(ALL_SIGNALS)
            try:
                pid = self._clone(own, entry, child)
            finally:
                syscalls.rt_sigprocmask(blocked)
                if self.affinity:
                    os.sched_setaffinity(0, before)
            child.close()
            self._join_resctrl(pid)
            console = self._follow(parent, pid)
            if self.late:
                os.waitpid(pid, 0)
                pid = self.late.pid
                self._join_resctrl(pid)
            return pid, console
        except BaseException:
            if pid:
                end_child(pid)
            # asked only now: the other one was free to have it until here
            if self.late and self.late.pid not in (0, pid):
                end_child(self.late.pid)
            raise
        finally:
            parent.close()
            child.close()
            entry.close()
            own.close()

    def _clone(self, own: Own, entry: CgroupEntry, channel: ChildEnd) -> int:
        """The new process, which is in the namespaces that only children enter; 0 when `_follow` will tell why not."""
        if self.rootless:
            # Imported for those who need it.
            from barque_runtime_native.execute_staged import StagedEntrance

            return StagedEntrance(self, own, entry, channel).run()
        # a window without it, between the clone and the child's own call, would be enough to trace the child
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        with Visit([(self.pidfd, flag) for flag in self.around]):
            pid = syscalls.clone3(0, entry.born_in)
            if pid == 0:
                self.main(own, entry, channel)
        return pid

    def _follow(self, parent: ParentEnd, pid: int) -> int | None:
        """Until end of file, which is the execve; before it came READY, or the child died on the way."""
        while letter := parent.next():
            if letter == LISTENER:
                self._hand_over_listener(int(parent.payload), self.late.pid if self.late else pid)
                parent.answer()
        if not parent.ready or (self.late and not self.late.pid):
            raise Internal("the new process was killed before it executed its program")
        return parent.take_console()

    def _hand_over_listener(self, fd: int, pid: int) -> None:
        # Imported for those who need it.
        from barque_runtime_native.lifecycle import oci_state
        from barque_runtime_native.seccomp.notify import Agent

        init = self.store.read_init()
        state = oci_state(self.document, RUNNING, init[0] if init else 0)
        Agent(Section(self.document["config"]["linux"]["seccomp"], "linux.seccomp")).hand_over(pid, fd, state)

    def _join_resctrl(self, pid: int) -> None:
        section = Section(self.document["config"].get("linux") or {}, "linux").section("intelRdt")
        if section.values:
            # Imported for those who need it.
            from barque_runtime_native.cgroup.intel_rdt import IntelRdt

            IntelRdt(section, self.store.id).enter(pid)

    def main(self, own: Own, entry: CgroupEntry, channel: ChildEnd) -> None:
        """The child; never returns."""
        gc.disable()  # as in init
        try:
            self._enter(own, entry, channel)
        except BaseException as error:  # noqa: BLE001 - all of it is for the parent to tell
            channel.fail(self.error(error))
        finally:
            # whatever happened: the parent's code must not go on in this process
            os._exit(1)

    def error(self, error: BaseException) -> BarqueError:
        if isinstance(error, OSError) and self.doing == "execve":
            return program_error(self.process.args[0], error.errno or errno.EINVAL)
        return translate(error, self.doing)

    def _enter(self, own: Own, entry: CgroupEntry, channel: ChildEnd) -> None:
        self.doing = "entering the cgroup"
        reset_signals(own.signals)
        entry.enter()
        if self.affinity:
            self.affinity.set_final()
        if not self.late:
            os.setsid()
        if not self.rootless:
            self.prepare(own)
        label = self.process.label.open(own.procfs) if self.process.label else -1
        self.doing = "entering the namespaces"
        if self.joined:
            syscalls.setns(self.pidfd, self.joined)
        if self.user:
            drop_groups(rootless=self.rootless)
            syscalls.setresgid(0)
            syscalls.setresuid(0)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        if self.keyring:
            join_keyring(self.store.id)
        if self.process.terminal:
            self._take_terminal(channel)
        elif self.stdio:
            place_stdio(self.stdio)
        self.doing = "process"
        close_all_but({channel.fd} | ({label} if label >= 0 else set()), self.preserved)
        permitted, bounding = (ALL, ALL) if self.user else (own.permitted, own.bounding)
        finish = Finish(self.process, self.filter, channel, bounding=bounding, permitted=permitted)
        if self.process.label:
            self.process.label.write(label)
            os.close(label)
        finish.confine()
        self._be_born(finish, channel)
        self.doing = "execve"
        finish.execute()

    def _be_born(self, finish: Finish, channel: ChildEnd) -> None:
        """Into the pid namespace with as little as can be: see `late_birth`."""
        if self.seal_first:
            finish.seal()
            channel.ready()
        if self.late:
            self.late.fork(terminal=self.process.terminal)
        if not self.seal_first:
            finish.seal()
            channel.ready()
        # only here /proc/self is this process, whatever program that may be good for
        finish.find()

    def prepare(self, own: Own) -> None:
        """What a process can have only while it is outside, and its children inherit."""
        self.doing = "process"
        if self.rootless:
            try_oom_score(own.procfs, self.process.oom_score_adj)
        else:
            set_oom_score(own.procfs, self.process.oom_score_adj)
        self.process.set_limits()
        # no process of the container may trace this one
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)

    def _take_terminal(self, channel: ChildEnd) -> None:
        self.doing = "process.terminal"
        from barque_runtime_native.process.console import Console

        root = Root(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        console = Console(root, self.process)
        console.take(control=not self.late)
        channel.send_console(console.master)


def affinity_of(config: dict[str, Any]) -> CpuAffinity | None:
    """The container's own `process.execCPUAffinity`."""
    section = Section(config.get("process") or {}, "process").section("execCPUAffinity")
    if not section.values:
        return None
    # Imported for those who need it.
    from barque_runtime_native.process.cpu_affinity import CpuAffinity

    return CpuAffinity(section)
