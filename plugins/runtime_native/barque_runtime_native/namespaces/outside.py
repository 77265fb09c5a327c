"""What the runtime does to init from outside, while init waits: resctrl groups and network interfaces."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.intel_rdt import IntelRdt
    from barque_runtime_native.namespaces.namespaces import NamespacePlan
    from barque_runtime_native.namespaces.net_devices import NetDevices
    from barque_runtime_native.spec import Section


class Outside:
    """Both, in this order: `linux.intelRdt`, `linux.netDevices`."""

    def __init__(self, linux: Section, namespaces: NamespacePlan, container: str) -> None:
        self.parts: list[IntelRdt | NetDevices] = []
        # Imported for those who need it.
        if linux.section("intelRdt").values:
            from barque_runtime_native.cgroup.intel_rdt import IntelRdt

            share = IntelRdt(linux.section("intelRdt"), container)
            share.check_host()
            self.parts.append(share)
        if linux.section("netDevices").values:
            from barque_runtime_native.namespaces.net_devices import NetDevices

            self.parts.append(NetDevices(linux.section("netDevices"), namespaces))

    def apply(self, pid: int) -> None:
        """Do it to process `pid`. On an error nothing of it is left."""
        try:
            for part in self.parts:
                part.apply(pid)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Undo what was done. Idempotent."""
        for part in reversed(self.parts):
            part.undo()
