"""Exec by who is not the host's root: a stage enters user, pid and time namespace, its child the rest."""

from __future__ import annotations

from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces.stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.control import CgroupEntry
    from barque_runtime_native.channel import ChildEnd
    from barque_runtime_native.execute import Execution
    from barque_runtime_native.process.child import Own


class StagedEntrance:
    """The `Entrance` of an exec."""

    def __init__(self, execution: Execution, own: Own, entry: CgroupEntry, channel: ChildEnd) -> None:
        self.execution = execution
        self.own = own
        self.entry = entry
        self.channel = channel
        user = execution.joined & syscalls.CLONE_NEWUSER
        self.early = user + sum(execution.around)
        execution.joined &= ~syscalls.CLONE_NEWUSER

    def run(self) -> int:
        """The new process, or 0 when the stage has told why there is none."""
        stage = Stage(self, self._clone)
        try:
            stage.start()
        finally:
            pid = stage.finish()
        return pid

    def _clone(self) -> int:
        return syscalls.clone3(syscalls.CLONE_PARENT, self.entry.born_in, exit_signal=0)

    def enter_early(self) -> None:
        """See `Entrance`. Who traces the container's processes may not trace this one: it is not dumpable before."""
        self.execution.prepare(self.own)
        self.execution.doing = "entering the namespaces"
        if self.early:
            syscalls.setns(self.execution.pidfd, self.early)

    def main(self) -> None:
        """See `Entrance`."""
        self.execution.main(self.own, self.entry, self.channel)

    def fail(self, error: BaseException) -> None:
        """See `Entrance`."""
        self.channel.fail(self.execution.error(error))
