"""The cgroups that a container is to have: `linux.cgroupsPath` and `linux.resources`, checked, then made."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup.control import remove
from barque_runtime_native.cgroup.devices import DeviceRule, plan_device_rules, write_v1
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.cgroup.setting import Setting, apply
from barque_runtime_native.cgroup.settings import plan_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.cgroup.layout import Hierarchy, Layout
    from barque_runtime_native.spec import Section

_CPUSET = ("cpuset.cpus", "cpuset.mems")


class CgroupPlan:
    """Directories, settings and device rules of one container.

    `rootless`: for a user who may not be allowed to make cgroups. A hierarchy where he is not is left out, and a limit
    that would need it is refused by name. Device rules are then left out as well: such a user has no device
    nodes but the host's own, with the rights that he has on them anyway.
    """

    def __init__(self, linux: Section, layout: Layout, container: str, *, rootless: bool = False) -> None:
        resources = linux.section("resources")
        self.field = linux.path("cgroupsPath")
        self.rootless = rootless
        # what tells the unit of systemd that the cgroup belongs to
        self.unit: dict[str, Any] = {}
        places = self._places(linux.text("cgroupsPath") or container, layout)
        if rootless:
            places = self._allowed(places, layout)
            layout = layout.only(places)
        self.layout = layout
        self.directories = places
        self.settings: list[Setting] = plan_settings(resources, layout)
        self.rules: list[DeviceRule] = plan_device_rules(resources)
        if rootless and (layout.unified or layout.of("devices") is None):
            self.rules = []
        self._check(resources)

    def _places(self, path: str, layout: Layout) -> dict[str, str]:
        """Where the cgroup is in each hierarchy, by the hierarchy's name."""
        check_path(path, self.field)
        return {each.name: os.path.normpath(place(each, path)) for each in layout.hierarchies}

    def _allowed(self, places: dict[str, str], layout: Layout) -> dict[str, str]:
        """The places that a user without power over cgroups can use."""
        return {
            each.name: places[each.name]
            for each in layout.hierarchies
            if can_be_made(places[each.name]) and can_be_entered(each, places[each.name])
        }

    def _check(self, resources: Section) -> None:
        if self.rules and not self.layout.unified and self.layout.of("devices") is None:
            from barque_runtime_native.cgroup.missing import missing

            raise missing(resources.path("devices"), "devices", self.layout)
        if not self.directories and (limits := [each for each in self.settings if not each.unlimited()]):
            from barque_runtime_native.cgroup.missing import missing

            raise missing(limits[0].field, limits[0].controller, self.layout, rootless=True)

    def describe(self) -> str:
        """One line for people."""
        return f"cgroup {', '.join(self.directories.values()) or '(none)'}"

    def create(self) -> list[str]:
        """Make the directories, apply settings and rules; returns the directories that were not there before."""
        made: list[str] = []
        try:
            for hierarchy in self.layout.hierarchies:
                make_directory(self.directories[hierarchy.name], hierarchy.mountpoint, made)
                if "cpuset" in hierarchy.controllers:
                    inherit_cpuset(self.directories[hierarchy.name], hierarchy.mountpoint)
            if self.layout.unified and self.directories:
                from barque_runtime_native.cgroup.unified import prepare

                prepare(self)
            if self.directories:
                apply(self.settings, self.directory_of)
            self._restrict_devices()
        except BaseException:
            remove(made)
            raise
        return made

    def release(self) -> None:
        """Called when init is in the cgroup, or never will be."""

    def undo(self, made: list[str]) -> None:
        """Take `create` back, which returned `made`. Errors: Conflict."""
        remove(made)

    def _restrict_devices(self) -> None:
        if not self.rules:
            return
        if self.layout.unified:
            from barque_runtime_native.cgroup.device_program import attach_v2

            attach_v2(self.directory_of(""), self.rules)
        else:
            write_v1(self.directory_of("devices"), self.rules)

    def directory_of(self, controller: str) -> str:
        """The cgroup that has `controller`."""
        hierarchy = self.layout.hierarchies[0] if self.layout.unified else self.layout.of(controller)
        assert hierarchy is not None  # plan_settings and _check have refused what is not mounted
        return self.directories[hierarchy.name]


def plan_cgroup(
    linux: Section, layout: Layout, container: str, *, rootless: bool = False, systemd: bool = False
) -> CgroupPlan:
    """The plan of a container's cgroup; with `systemd`, made by systemd."""
    if systemd:
        # Imported with --systemd-cgroup only.
        from barque_runtime_native.cgroup.systemd import SystemdCgroupPlan

        return SystemdCgroupPlan(linux, layout, container, rootless=rootless)
    return CgroupPlan(linux, layout, container, rootless=rootless)


def check_path(path: str, field: str) -> None:
    """Errors: InvalidArgument for a path that climbs out, or is one of systemd's."""
    if ".." in path.split("/") or not path.strip("/."):
        raise InvalidArgument(f"{field}: {path!r} must name a cgroup below its parent")
    if path.count(":") == 2 and "/" not in path:
        raise InvalidArgument(
            f"{field}: {path!r} is for systemd's cgroup driver",
            hint="use --systemd-cgroup, or a path such as /barque/ID",
        )


def place(hierarchy: Hierarchy, path: str) -> str:
    """The directory of cgroup `path`: absolute from the hierarchy's mount, relative from this process's own cgroup.

    On v2 relative is beside our own where that is allowed: with us in it, it cannot hand controllers down.
    """
    if not hierarchy.v2 or path.startswith("/"):
        return hierarchy.directory(path)
    if ".." in hierarchy.own.split("/"):
        raise FailedPrecondition(
            f"this process is in the cgroup {hierarchy.own}, outside of its cgroup namespace",
            hint="use an absolute linux.cgroupsPath",
        )
    own = hierarchy.mountpoint + hierarchy.own
    parent = os.path.dirname(own) if hierarchy.own else own
    return os.path.join(parent if os.access(parent, os.W_OK) else own, path)


def can_be_made(directory: str) -> bool:
    """Whether this process may make that cgroup; looks only."""
    above = directory
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    # cgroup.procs is root's wherever only the directory was given away
    return os.access(above, os.W_OK | os.X_OK, effective_ids=True) and (
        above != directory or os.access(f"{above}/cgroup.procs", os.W_OK, effective_ids=True)
    )


def can_be_entered(hierarchy: Hierarchy, directory: str) -> bool:
    """Whether this process may move one of its children there: on v2 that takes the right to write to cgroup.procs of
    the nearest cgroup above both (cgroup-v2.rst, "Delegation Containment")."""
    if not hierarchy.v2:
        return True
    above = os.path.commonpath((hierarchy.mountpoint + hierarchy.own, directory))
    return os.access(f"{above}/cgroup.procs", os.W_OK, effective_ids=True)


def make_directory(directory: str, top: str, made: list[str]) -> None:
    """mkdir with parents; the new ones are added to `made`, deepest last."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if len(parent) < len(top):
            raise
        make_directory(parent, top, made)
        make_directory(directory, top, made)
        return
    made.append(directory)


def inherit_cpuset(directory: str, top: str) -> None:
    """A v1 cpuset starts without processors and memory, and takes no task until it has both: copy the parent's."""
    if directory == top or all(read_text(f"{directory}/{file}").strip() for file in _CPUSET):
        return  # both: another container's runtime may have written only the first so far
    parent = os.path.dirname(directory)
    inherit_cpuset(parent, top)
    for file in _CPUSET:
        Setting("cpuset", file, read_text(f"{parent}/{file}").strip(), "linux.resources.cpu").execute(
            directory
        )
