"""What a cgroup of v2 needs before it can limit a container (cgroups(7), "Cgroups version 2")."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.cgroup.missing import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.layout import Layout
    from barque_runtime_native.cgroup.plan import CgroupPlan
    from barque_runtime_native.cgroup.setting import Setting

# Not for containers: perf_event is always on, and these wait for nobody.
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc", "dmem")


def prepare(plan: CgroupPlan) -> None:
    """Make a new cgroup ready for its settings. Errors: FailedPrecondition that names a field or `linux.cgroupsPath`."""
    directory = plan.directory_of("")
    check_domain(directory, plan.field)
    provide(directory, plan.settings, plan.layout, rootless=plan.rootless)


def provide(directory: str, settings: list[Setting], layout: Layout, *, rootless: bool) -> None:
    """Hand controllers down to a cgroup: those that settings need, and the others where that works, for statistics."""
    needed = {
        setting.controller: setting.field
        for setting in settings
        if setting.controller != "cgroup" and not setting.unlimited()
    }
    hand_down(os.path.dirname(directory), layout.hierarchies[0].mountpoint, needed)
    present = set(read_text(f"{directory}/cgroup.controllers").split())
    for controller, field in needed.items():
        if controller not in present:
            raise missing(field, controller, layout, rootless=rootless)
    if not all(os.path.exists(f"{directory}/{setting.file}") for setting in settings):
        # Somebody else is handing down this moment: the kernel lists controllers before their files are there,
        # and a write, which changes nothing, waits until they are.
        enable(os.path.dirname(directory), set())


def check_domain(directory: str, field: str) -> None:
    """Errors: FailedPrecondition when the cgroup cannot hold a container's processes."""
    if (kind := read_text(f"{directory}/cgroup.type").strip()) not in ("domain", "domain threaded"):
        raise FailedPrecondition(
            f"{field}: cgroup {directory} is {kind}, and a container needs a domain",
            hint="choose a path that is not below a threaded cgroup",
        )
    if read_text(f"{directory}/cgroup.subtree_control").strip():
        raise FailedPrecondition(
            f"{field}: cgroup {directory} hands controllers down, so it takes no processes",
            hint="choose a path of its own for each container",
        )


def hand_down(parent: str, top: str, needed: dict[str, str]) -> None:
    """Enable controllers for the children of `parent`, from the mount down."""
    parents = [parent]
    while len(parents[-1]) > len(top):
        parents.append(os.path.dirname(parents[-1]))
    for directory in reversed(parents):
        available = set(read_text(f"{directory}/cgroup.controllers").split())
        wanted = available.intersection((*CONTROLLERS, *needed))
        wanted -= set(read_text(f"{directory}/cgroup.subtree_control").split())
        if not wanted:
            continue
        taken = occupied(directory)
        if not taken and not enable(directory, wanted):
            continue
        for controller in sorted(wanted):
            error = errno.EBUSY if taken else enable(directory, {controller})
            if error and controller in needed:
                raise refused(directory, controller, needed[controller], error)


def occupied(directory: str) -> bool:
    """Whether a cgroup has processes. Such a one could hand some controllers down, but would make threads of its
    children; only the root of all, which has no type, is free to."""
    try:
        return os.path.exists(f"{directory}/cgroup.type") and bool(
            read_text(f"{directory}/cgroup.procs").strip()
        )
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return True  # threaded already


def enable(directory: str, controllers: set[str]) -> int:
    """Add to cgroup.subtree_control; returns the error number, 0 for none."""
    text = " ".join(f"+{name}" for name in sorted(controllers))
    try:
        fd = os.open(f"{directory}/cgroup.subtree_control", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        os.write(fd, text.encode() or b"\n")
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(fd)
    return 0


def refused(directory: str, controller: str, field: str, number: int) -> FailedPrecondition:
    """Why a controller cannot be enabled for the children of a cgroup."""
    why, hint = f"{os.strerror(number).lower()}", "have the controller delegated to it"
    if number == errno.EBUSY:
        why = "it has processes itself, and a cgroup with processes cannot hand controllers down"
        hint = "choose a cgroup without processes as parent, or use --systemd-cgroup"
    elif number == errno.EOPNOTSUPP:
        why, hint = "it is threaded", "choose a parent that is a domain"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = "it does not belong to this user"
    return FailedPrecondition(
        f"{field} needs the controller {controller}, which cgroup {directory} does not hand down: {why}",
        hint=hint,
    )
