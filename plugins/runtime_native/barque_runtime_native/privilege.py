"""What the runtime itself may do: as the host's root, as root of a user namespace, or as an ordinary user."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.namespaces.namespaces import NamespacePlan

# The inode of the first user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h), the same on every Linux.
FIRST_USER_NAMESPACE = 0xEFFFFFFD
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21


def check_user(namespaces: NamespacePlan) -> None:
    """Errors: PermissionDenied for an ordinary user without a user namespace in the configuration."""
    if os.geteuid() != 0 and not namespaces.own("user"):
        raise PermissionDenied(
            "linux.namespaces: rootless container requires user namespaces",
            hint="add one, with uidMappings and gidMappings, as `spec --rootless` does",
        )


def check_pid_namespace(namespaces: NamespacePlan, cgroups: dict[str, str]) -> None:
    """Errors: FailedPrecondition for a container that has neither a cgroup nor a new pid namespace: nobody could tell
    later which processes are its own, to end them."""
    if not cgroups and "pid" not in namespaces.new:
        raise FailedPrecondition(
            "linux.namespaces: a container without a cgroup must have a new pid namespace",
            hint="add one, or have a cgroup delegated to this user",
        )


def is_rootless() -> bool:
    """Whether this process is anyone but the host's root, hence without power over what belongs to the host."""
    return os.geteuid() != 0 or os.stat("/proc/self/ns/user").st_ino != FIRST_USER_NAMESPACE


def capable(permitted: int, capability: int) -> bool:
    """Whether a set of capabilities, as a bit mask, holds that one."""
    return bool(permitted >> capability & 1)
