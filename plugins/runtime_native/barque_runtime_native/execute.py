"""A further process in a running container, with the container's confinement."""

from __future__ import annotations

import errno
import gc
import os

from barque.spi.errors import BarqueError, Conflict, Internal
from barque_runtime_native import syscalls
from barque_runtime_native.capabilities import ALL
from barque_runtime_native.cgroup import CgroupEntry, is_frozen, main_directory
from barque_runtime_native.channel import READY, ChildEnd, ParentEnd, make_channel
from barque_runtime_native.child import Finish, Own, close_all_but, place_stdio, reset_signals
from barque_runtime_native.console import Console
from barque_runtime_native.create import end_child
from barque_runtime_native.failures import program_error, translate
from barque_runtime_native.init import join_keyring
from barque_runtime_native.namespaces import KINDS, Visit
from barque_runtime_native.process import Process, open_label, set_oom_score
from barque_runtime_native.rootfs import Root
from barque_runtime_native.spec import Section
from barque_runtime_native.state import RUNNING, Store, open_process, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.seccomp_filter import Filter

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
        self.process.oom_score_adj = config.get("process", {}).get("oomScoreAdj")
        named = {each["type"] for each in config.get("linux", {}).get("namespaces") or ()}
        self.around = [KINDS[kind][0] for kind in FOR_CHILDREN if kind in named]
        self.joined = sum(KINDS[kind][0] for kind in named if kind not in FOR_CHILDREN)
        self.user = "user" in named
        self.filter: Filter | None = None
        self.stdio: tuple[int, int, int] | None = None
        self.preserved = 0
        self.keyring = True
        self.ignore_paused = False
        self.pidfd = -1
        self.doing = "exec"

    def run(self) -> tuple[int, int | None]:
        """(pid, console), after the execve. Errors: as `runtime_exec` says."""
        container = self.store.id
        status, _ = status_of(self.store, self.document)
        init = self.store.read_init()
        pidfd = open_process(*init) if init and status == RUNNING else None
        if pidfd is None:
            raise Conflict(f"container {container} is not running: it is {status}")
        self.pidfd = pidfd
        try:
            if not self.ignore_paused and is_frozen(main_directory(self.document["cgroups"])):
                raise Conflict(f"container {container} is paused", hint="resume it first")
            self.filter = self.store.read_filter()
            return self._clone_and_follow()
        except OSError as error:
            raise translate(error, self.doing) from error
        finally:
            os.close(pidfd)

    def _clone_and_follow(self) -> tuple[int, int | None]:
        self.doing = "opening the cgroup"
        own = Own()
        entry = CgroupEntry(self.document["cgroups"], unified=self.document["unified"])
        parent, child = make_channel()
        pid = 0
        try:
            self.doing = "entering the namespaces"
            blocked = syscalls.rt_sigprocmask(ALL_SIGNALS)
            try:
                with Visit([(self.pidfd, flag) for flag in self.around]):
                    pid = syscalls.clone3(0, entry.born_in)
                    if pid == 0:
                        self._main(own, entry, child)
            finally:
                syscalls.rt_sigprocmask(blocked)
            child.close()
            return pid, self._follow(parent)
        except BaseException:
            if pid:
                end_child(pid)
            raise
        finally:
            parent.close()
            child.close()
            entry.close()
            own.close()

    def _follow(self, parent: ParentEnd) -> int | None:
        """Until end of file, which is the execve; before it came READY, or the child died on the way."""
        ready = False
        while letter := parent.next():
            ready = letter == READY
        if not ready:
            raise Internal("the new process was killed before it executed its program")
        return parent.take_console()

    def _main(self, own: Own, entry: CgroupEntry, channel: ChildEnd) -> None:
        """The child; never returns."""
        gc.disable()  # as in init
        try:
            self._enter(own, entry, channel)
        except BaseException as error:  # noqa: BLE001 - all of it is for the parent to tell
            channel.fail(self._error(error))
        finally:
            # whatever happened: the parent's code must not go on in this process
            os._exit(1)

    def _error(self, error: BaseException) -> BarqueError:
        if isinstance(error, OSError) and self.doing == "execve":
            return program_error(self.process.args[0], error.errno or errno.EINVAL)
        return translate(error, self.doing)

    def _enter(self, own: Own, entry: CgroupEntry, channel: ChildEnd) -> None:
        self.doing = "entering the cgroup"
        reset_signals(own.signals)
        entry.enter()
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self.doing = "process"
        set_oom_score(own.procfs, self.process.oom_score_adj)
        self.process.set_limits()
        label = open_label(own.procfs, self.process)
        self.doing = "entering the namespaces"
        syscalls.setns(self.pidfd, self.joined)
        if self.user:
            syscalls.setgroups([])
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
        close_all_but({channel.fd} | ({label[0]} if label else set()), self.preserved)
        permitted, bounding = (ALL, ALL) if self.user else (own.permitted, own.bounding)
        finish = Finish(self.process, self.filter, bounding=bounding, permitted=permitted)
        if label:
            os.write(*label)
            os.close(label[0])
        finish.confine()
        finish.find()
        channel.ready()
        self.doing = "execve"
        finish.execute()

    def _take_terminal(self, channel: ChildEnd) -> None:
        self.doing = "process.terminal"
        root = Root(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        console = Console(root, self.process)
        console.take()
        channel.send_console(console.master)
