"""A configuration as a plan: every step of making the container, checked and in order, before the first one runs."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native.cgroup.layout import current_layout
from barque_runtime_native.cgroup.plan import plan_cgroup
from barque_runtime_native.mounts.devices import plan_devices
from barque_runtime_native.mounts.masks import MaskedPaths, ReadonlyPaths
from barque_runtime_native.mounts.mounts import BindMount, plan_mount
from barque_runtime_native.mounts.options import MountOptions
from barque_runtime_native.mounts.root import RootMount
from barque_runtime_native.namespaces.namespaces import NamespacePlan
from barque_runtime_native.privilege import check_pid_namespace, check_user, is_rootless
from barque_runtime_native.process.process import Process
from barque_runtime_native.spec import Section, check_version, refuse_unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from barque_runtime_native.hooks import Hook
    from barque_runtime_native.mounts.rootfs import Root
    from barque_runtime_native.namespaces.outside import Outside
    from barque_runtime_native.process.sysctl import Sysctl
    from barque_runtime_native.seccomp.notify import Agent

    class Step(Protocol):
        """Something done to the container's root by name."""

        def describe(self) -> str:
            """One line for people."""

        def execute(self, root: Root) -> None:
            """Do it."""


class Plan:
    """All that will be done. Nothing of the system has been changed once it exists.

    What only some containers ask for is imported here for those: a child does not import any more.
    """

    def __init__(
        self, container: str, bundle: str, config: Mapping[str, Any], *, no_pivot: bool = False,
        systemd_cgroup: bool = False,
    ) -> None:  # fmt: skip
        root = Section(config)
        check_version(root)
        refuse_unsupported(root)
        linux = root.section("linux")
        self.rootless = is_rootless()
        self.id = container
        self.bundle = bundle
        self.version = root.text("ociVersion")
        self.annotations = root.mapping("annotations")
        self.namespaces = NamespacePlan(linux)
        self.staged = self.namespaces.needs_stage(rootless=self.rootless)
        check_user(self.namespaces)
        self.process = Process(root.section("process"))
        self.cgroup = plan_cgroup(
            linux, current_layout(), container, rootless=self.rootless, systemd=systemd_cgroup
        )
        check_pid_namespace(self.namespaces, self.cgroup.directories)
        self.root = RootMount(root, bundle, no_pivot=no_pivot, elsewhere="mount" in self.namespaces.paths)
        self.seccomp = linux.section("seccomp") if linux.has("seccomp") else None
        self.agent = self._plan_agent()
        self.hostname = self._uts_name(root, "hostname")
        self.domainname = self._uts_name(root, "domainname")
        self.process.take_domain(linux)
        self.outside = self._plan_outside(linux)
        self.sysctls = self._plan_sysctls(linux)
        self.hooks = self._read_hooks(root)
        self.mounts = self._plan_mounts(root)
        self.steps: list[Step] = [*self.mounts, *self._plan_devices(linux)]
        self.last: list[Step] = []
        if paths := linux.texts("readonlyPaths"):
            self.last.append(ReadonlyPaths(paths))
        if paths := linux.texts("maskedPaths"):
            self.last.append(MaskedPaths(paths))

    def _uts_name(self, root: Section, key: str) -> str:
        name = root.text(key)
        if name and self._shares_uts():
            raise InvalidArgument(
                f"{key}: unable to set {key} without a private UTS namespace",
                hint="add one to linux.namespaces",
            )
        if len(os.fsencode(name)) > 64:
            raise InvalidArgument(f"{key} is longer than 64 bytes: {name!r}")
        return name

    def _shares_uts(self) -> bool:
        path = self.namespaces.paths.get("uts")
        if path is None:
            return not self.namespaces.own("uts")
        from barque_runtime_native.process.sysctl import leads_here

        return leads_here(path, "uts")

    def _plan_agent(self) -> Agent | None:
        if self.seccomp is None:
            return None
        from barque_runtime_native.seccomp.flags import plan_agent

        return plan_agent(self.seccomp)

    def _plan_sysctls(self, linux: Section) -> list[Sysctl]:
        values = linux.mapping("sysctl")
        if not values:
            return []
        from barque_runtime_native.process.sysctl import Sysctl

        return [Sysctl(name, value, self.namespaces) for name, value in values.items()]

    def _read_hooks(self, root: Section) -> dict[str, list[Hook]]:
        section = root.section("hooks")
        if not section.values:
            return {}
        from barque_runtime_native.hooks import read_hooks

        return read_hooks(section)

    def _plan_outside(self, linux: Section) -> Outside | None:
        if not linux.section("intelRdt").values and not linux.section("netDevices").values:
            return None
        from barque_runtime_native.namespaces.outside import Outside

        return Outside(linux, self.namespaces, self.id)

    def _plan_mounts(self, root: Section) -> list[Step]:
        steps: list[Step] = []
        label = root.section("linux").text("mountLabel")
        if label:
            from barque_runtime_native.mounts.label import check_label

            check_label(label)
        for section in root.sections("mounts"):
            step: Step | None = plan_mount(section, self.bundle, self.namespaces, label)
            steps.append(step or self._plan_cgroup_mount(section))
        return steps

    def _plan_cgroup_mount(self, section: Section) -> Step:
        from barque_runtime_native.cgroup.mounts import CgroupMount

        options = MountOptions(section.texts("options"), section.name)
        namespace = self.namespaces.own("cgroup")
        return CgroupMount(section.required("destination"), options, self.cgroup, namespace=namespace)

    def _plan_devices(self, linux: Section) -> list[Step]:
        bound = any(
            isinstance(step, BindMount) and step.destination.rstrip("/") == "/dev" for step in self.mounts
        )
        return [*plan_devices(linux, defaults=not bound, bind=self.namespaces.own("user"))]

    def describe(self) -> list[str]:
        """The plan, a line a step."""
        first = [self.namespaces.describe(), self.cgroup.describe(), self.root.describe()]
        return (
            first
            + [step.describe() for step in (*self.steps, *self.last)]
            + [each.describe() for each in self.sysctls]
        )

    def state(self, pid: int, status: str) -> dict[str, Any]:
        """The OCI state that hooks read."""
        return {
            "ociVersion": self.version,
            "id": self.id,
            "status": status,
            "pid": pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        }
