"""From the runtime to init: one clone into all namespaces, and the ids of a user namespace."""

from __future__ import annotations

from barque_runtime_native.failures import translate
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.mounts import BindMount
from barque_runtime_native.namespaces.namespaces import Visit, close_all, open_paths, split
from barque_runtime_native.privilege import CAP_SYS_ADMIN, capable
from barque_runtime_native.process.process import set_oom_score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.init import Init
    from barque_runtime_native.namespaces.stage import Stage
    from barque_runtime_native.plan import Plan
    from barque_runtime_native.process.child import Own

ALL_SIGNALS = 2**64 - 1


class Birth:
    """`pid` is init's once `settle` was called. What few containers need is imported for them."""

    def __init__(self, plan: Plan, own: Own) -> None:
        self.plan = plan
        self.own = own
        self.pid = 0
        self.stage: Stage | None = None
        self.doing = "linux.namespaces"

    def check(self) -> None:
        """Errors: FailedPrecondition when the means to map the ids are missing."""
        if self.plan.namespaces.user:
            from barque_runtime_native.namespaces.user_namespace import check_means

            check_means(self.plan.namespaces, self.own.permitted)

    def clone(self, init: Init) -> None:
        """Clone init, or the stage before it. Signals wait, lest a handler of ours runs in the child."""
        targets: list[tuple[int, int]] = []
        binds = self._binds_to_prepare()
        try:
            targets = open_paths(self.plan.namespaces)
            for bind in binds:
                self.doing = bind.describe()
                bind.prepare(self.plan.namespaces, targets)
            self.doing = "linux.namespaces"
            blocked = syscalls.rt_sigprocmask(ALL_SIGNALS)
            try:
                self._clone(init, targets)
            finally:
                syscalls.rt_sigprocmask(blocked)
        except OSError as error:
            raise translate(error, self.doing) from error
        finally:
            init.entry.close()
            close_all(targets)
            for bind in binds:
                bind.release()

    def _clone(self, init: Init, targets: list[tuple[int, int]]) -> None:
        namespaces = self.plan.namespaces
        mounts, others = split(targets, syscalls.CLONE_NEWNS)
        if mounts:
            init.mount_namespace = mounts[0][0]
        if self.plan.staged:
            from barque_runtime_native.namespaces.joining import Joining

            init.staged = True
            self.stage = Joining(init, others).stage()
            self.stage.start()
            return
        new_time = namespaces.time_offsets if "time" in namespaces.new else None
        if "pid" in namespaces.paths and not self.plan.rootless:
            # whoever is in that pid namespace may not trace init, from its first moment on
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        with Visit(others, new_time):
            pid = syscalls.clone3(namespaces.clone_flags, init.entry.born_in)
            if pid == 0:
                init.main()
        self.pid = pid

    def _binds_to_prepare(self) -> list[BindMount]:
        """The binds whose source is taken here: a child in a user namespace may not reach it, nor give it other ids."""
        namespaces = self.plan.namespaces
        binds = [step for step in self.plan.mounts if isinstance(step, BindMount)]
        here = (
            namespaces.own("user")
            and "mount" in namespaces.new
            and capable(self.own.permitted, CAP_SYS_ADMIN)
        )
        return [each for each in binds if here or each.ids]

    def settle(self) -> None:
        """Learn the pid of an init that a stage has made: any word of init's comes after that."""
        if self.stage:
            self.pid, self.stage = self.stage.finish(), None

    def map_stage(self) -> None:
        """Give the user namespace of the stage its ids."""
        if self.stage:
            self._map(self.stage.pid)

    def prepare_user(self) -> None:
        """Do for init what it has no power for in its user namespace, which gets its ids unless the stage's has."""
        plan = self.plan
        if not plan.staged:
            self._map(self.pid)
        plan.process.set_limits(self.pid)
        if not plan.rootless:
            set_oom_score(self.own.procfs, plan.process.oom_score_adj, str(self.pid))

    def _map(self, pid: int) -> None:
        if self.plan.namespaces.user:
            from barque_runtime_native.namespaces.user_namespace import write_mappings

            write_mappings(pid, self.plan.namespaces, self.own.permitted)
