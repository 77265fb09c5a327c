"""Why a limit cannot be set here: an error that names the field, what is missing and how to get it."""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.cgroup.layout import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.layout import Layout

DELEGATE = (
    "have systemd delegate the controller to the user (Delegate= of user@.service) and use --systemd-cgroup, "
    "or run without limits"
)


def missing(field: str, controller: str, layout: Layout, *, rootless: bool = False) -> FailedPrecondition:
    """The error for `field`, whose controller is not at hand."""
    if rootless:
        return FailedPrecondition(
            f"{field} is set but this user has no cgroup with the controller {controller}", hint=DELEGATE
        )
    if layout.unified:
        return FailedPrecondition(
            f"{field} is set but the cgroup controller {controller} is not available",
            hint="enable it in the kernel, or have it delegated to this cgroup",
        )
    return FailedPrecondition(
        f"{field} is set but the cgroup controller {controller} is not mounted", hint=mount_hint(controller)
    )


def mount_hint(controller: str) -> str:
    """How a v1 controller becomes available."""
    enabled = kernel_controllers().get(controller)
    if enabled is None:
        return f"this kernel is built without it: remove the field, or use a kernel with the controller {controller}"
    if not enabled:
        return f"it is off: remove cgroup_disable={controller} from the kernel's command line"
    place = f"/sys/fs/cgroup/{controller}"
    return f"mkdir {place} && mount -t cgroup -o {controller} {controller} {place}"


def kernel_controllers() -> dict[str, bool]:
    """Controllers that this kernel has, and whether they are enabled (/proc/cgroups; v2 has no such list of its own)."""
    rows = [line.split() for line in read_text("/proc/cgroups").splitlines() if not line.startswith("#")]
    return {row[0]: row[3] == "1" for row in rows if len(row) == 4}
