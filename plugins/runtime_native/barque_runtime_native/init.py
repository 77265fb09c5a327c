"""The container's first process, from the clone to execve of its program. See `child` for what it must not do."""

from __future__ import annotations

import errno
import gc
import os
from _socket import AF_INET, SOCK_DGRAM, socket
from fcntl import ioctl
from struct import pack

from barque.spi.errors import BarqueError
from barque_runtime_native.channel import HOOKS, MAP, OUTSIDE, READY, SOCK_CLOEXEC, ChildEnd, encode_error
from barque_runtime_native.failures import program_error, translate
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.process.capabilities import ALL
from barque_runtime_native.process.child import Finish, Own, close_all_but, place_stdio, reset_signals
from barque_runtime_native.process.process import set_oom_score, try_oom_score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.control import CgroupEntry
    from barque_runtime_native.mounts.rootfs import Root
    from barque_runtime_native.plan import Plan
    from barque_runtime_native.seccomp.filter import Filter

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41


class Init:
    """All that init takes along through the clone."""

    def __init__(
        self, plan: Plan, own: Own, channel: ChildEnd, entry: CgroupEntry, filter_: Filter | None
    ) -> None:
        self.plan = plan
        self.own = own
        self.channel = channel
        self.entry = entry
        self.filter = filter_
        self.stdio: tuple[int, int, int] | None = None
        self.preserved = 0
        self.start = self.report = -1
        self.keyring = True
        self.find_early = False
        self.staged = False
        self.mount_namespace = -1
        self.pid = 0
        self.doing = "start of init"
        if plan.process.terminal:
            # imported here, in the parent: see `process.child`
            from barque_runtime_native.process import console  # noqa: F401

    def main(self) -> None:
        """Never returns."""
        gc.disable()  # a collection would write to, and so copy, every page of the parent's objects
        try:
            try:
                self._prepare()
            except BaseException as error:  # noqa: BLE001 - all of it is for the parent to tell
                self.channel.fail(translate(error, self.doing))
                return
            try:
                self._run()
            except BaseException as error:  # noqa: BLE001 - all of it is for the parent to tell
                os.write(self.report, encode_error(self._exec_error(error)))
        finally:
            # whatever happened: the parent's code must not go on in this process
            os._exit(1)

    def _exec_error(self, error: BaseException) -> BarqueError:
        if isinstance(error, OSError) and self.doing == "execve":
            return program_error(self.plan.process.args[0], error.errno or errno.EINVAL)
        return translate(error, self.doing)

    def _prepare(self) -> None:
        plan, process = self.plan, self.plan.process
        self.doing = "entering the cgroup"
        reset_signals(self.own.signals)
        self.entry.enter()
        os.setsid()
        if not self.staged:
            self.adjust_oom_score()
        if not (plan.rootless and plan.namespaces.user):
            # only the root of the first user namespace may write the mappings of what cannot be dumped
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        label = process.label.open(self.own.procfs) if process.label else -1
        if self.mount_namespace >= 0:
            self.doing = "linux.namespaces: mount"
            syscalls.setns(self.mount_namespace, syscalls.CLONE_NEWNS)
        self.doing = plan.root.describe()
        place = self._reach_root()
        self._enter_user_namespace()
        if place < 0:
            self.doing = plan.root.describe()
            place = plan.root.reach()
        self._set_up_namespaces()
        root = self._set_up_root(place)
        if self.stdio:
            place_stdio(self.stdio)
        self.doing = "entering the root file system"
        plan.root.enter(root)
        plan.root.finish(root)
        keep = {self.channel.fd, self.start, self.report}
        if label >= 0:
            keep.add(label)
        close_all_but(keep, self.preserved)
        self._confine(label)
        self.pid = int(self.channel.request(READY))
        self.channel.close()

    def _reach_root(self) -> int:
        """The root's directory, as whoever started the runtime; -1 when only the root of the user namespace may walk
        there: podman's directories of such containers are its own and closed to others."""
        try:
            return self.plan.root.reach()
        except PermissionError:
            if not self.plan.namespaces.user:
                raise
            return -1

    def _enter_user_namespace(self) -> None:
        """Have the ids mapped from outside, then be root inside."""
        if not self.plan.namespaces.own("user"):
            self.plan.process.set_limits()
            return
        self.doing = "linux.uidMappings"
        self.channel.request(MAP)
        drop_groups(rootless=self.plan.rootless)
        syscalls.setresgid(0)
        syscalls.setresuid(0)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)

    def adjust_oom_score(self) -> None:
        """Set it for this process and its children; for a user namespace of the host's root the runtime does."""
        self.doing = "process.oomScoreAdj"
        if self.plan.rootless:
            try_oom_score(self.own.procfs, self.plan.process.oom_score_adj)
        elif not self.plan.namespaces.own("user"):
            set_oom_score(self.own.procfs, self.plan.process.oom_score_adj)

    def _set_up_namespaces(self) -> None:
        plan = self.plan
        self.doing = "linux.namespaces"
        if "cgroup" in plan.namespaces.new:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        if "network" in plan.namespaces.new:
            bring_up_loopback()
        if plan.outside:
            self.channel.request(OUTSIDE)
        if plan.hostname:
            syscalls.sethostname(plan.hostname)
        if plan.domainname:
            syscalls.setdomainname(plan.domainname)
        if self.keyring:
            join_keyring(plan.id)

    def _set_up_root(self, place: int) -> Root:
        plan = self.plan
        os.umask(0)
        self.doing = plan.root.describe()
        root = plan.root.open(place)
        for step in plan.steps:
            self.doing = step.describe()
            step.execute(root)
        if plan.process.terminal:
            self.doing = "process.terminal"
            from barque_runtime_native.process.console import Console

            console = Console(root, plan.process)
            console.bind(root)
            console.take()
            self.channel.send_console(console.master)
        self.doing = "process.cwd"
        os.close(root.directory(plan.process.cwd))
        for sysctl in plan.sysctls:
            self.doing = sysctl.describe()
            sysctl.execute(self.own.procfs)
        self._create_hooks()
        for step in plan.last:
            self.doing = step.describe()
            step.execute(root)
        return root

    def _create_hooks(self) -> None:
        """prestart and createRuntime are the parent's to run, in the runtime's namespaces."""
        hooks = self.plan.hooks
        if any(kind in hooks for kind in ("prestart", "createRuntime", "createContainer")):
            self.doing = "hooks"
            from barque_runtime_native.hooks import run_all

            self.pid = int(self.channel.request(HOOKS))
            run_all(hooks.get("createContainer", []), self.plan.state(self.pid, "creating"))

    def _confine(self, label: int) -> None:
        process = self.plan.process
        self.doing = "process"
        user = self.plan.namespaces.own("user")
        permitted, bounding = (ALL, ALL) if user else (self.own.permitted, self.own.bounding)
        self.finish = Finish(process, self.filter, self.channel, bounding=bounding, permitted=permitted)
        if process.label:
            process.label.write(label)
            os.close(label)
        self.finish.confine()
        self.finish.seal()
        if self.find_early:
            self.finish.find()

    def _run(self) -> None:
        self.doing = "waiting to be started"
        os.read(self.start, 1)
        os.close(self.start)
        self.doing = "hooks.startContainer"
        if hooks := self.plan.hooks.get("startContainer"):
            from barque_runtime_native.hooks import run_all

            run_all(hooks, self.plan.state(self.pid, "created"), self.finish.environment)
        if not self.finish.program:
            self.finish.find()
        self.doing = "execve"
        self.finish.execute()


def drop_groups(*, rootless: bool) -> None:
    """Leave the supplementary groups. Where an ordinary user could map its groups only by denying setgroups(2), they
    stay: the kernel shows them as the overflow group inside."""
    try:
        syscalls.setgroups([])
    except PermissionError:
        if not rootless:
            raise


def bring_up_loopback() -> None:
    """A new network namespace has `lo`, down."""
    probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        ioctl(probe.fileno(), SIOCSIFFLAGS, pack("=16sH22x", b"lo", IFF_UP_RUNNING))
    finally:
        probe.close()


def join_keyring(container: str) -> None:
    """A session keyring of the container's own, so that it does not hold the keys of whoever started it."""
    try:
        syscalls.keyctl_join_session_keyring(f"_ses.{container}")
    except OSError as error:
        if error.errno != errno.ENOSYS:  # a kernel without keyrings has no keys to hide
            raise
