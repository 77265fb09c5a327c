"""Writing the ids of a new user namespace from outside, with whatever privilege the runtime has."""

from __future__ import annotations

import os

from barque_runtime_native.namespaces.mappings import write_file, write_map
from barque_runtime_native.privilege import CAP_SETGID, CAP_SETUID, capable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.namespaces.mappings import Mapping
    from barque_runtime_native.namespaces.namespaces import NamespacePlan


def check_means(plan: NamespacePlan, permitted: int) -> None:
    """Errors: FailedPrecondition when the mappings need a program that is not installed."""
    for file, mappings in files_of(plan):
        if needs_tool(file, mappings, permitted):
            from barque_runtime_native.namespaces.subids import find_tool

            find_tool(file, field_of(file))


def write_mappings(pid: int, plan: NamespacePlan, permitted: int) -> None:
    """Give the new user namespace of `pid` its ids. `permitted`: the runtime's own capabilities.

    With CAP_SETUID and CAP_SETGID by itself. Without, the own id may be mapped, groups only once setgroups(2) is
    denied for good; for all else by newuidmap(1) and newgidmap(1).
    """
    for file, mappings in files_of(plan):
        if needs_tool(file, mappings, permitted):
            from barque_runtime_native.namespaces.subids import write_map_with_tool

            write_map_with_tool(pid, file, mappings, field_of(file))
            continue
        if file == "gid_map" and not capable(permitted, CAP_SETGID):
            write_file(f"/proc/{pid}/setgroups", "deny")
        write_map(pid, file, mappings, field_of(file))


def needs_tool(file: str, mappings: list[Mapping], permitted: int) -> bool:
    """Whether the kernel would not take `mappings` from this process."""
    group = file == "gid_map"
    if capable(permitted, CAP_SETGID if group else CAP_SETUID):
        return False
    own = os.getegid() if group else os.geteuid()
    return [(each.outside, each.size) for each in mappings] != [(own, 1)]


def files_of(plan: NamespacePlan) -> tuple[tuple[str, list[Mapping]], ...]:
    """The files to write and what they get."""
    return ("uid_map", plan.uid_map), ("gid_map", plan.gid_map)


def field_of(file: str) -> str:
    """The field of the configuration that `file` comes from."""
    return "linux.uidMappings" if file == "uid_map" else "linux.gidMappings"
