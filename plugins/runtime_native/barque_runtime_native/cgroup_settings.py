"""`linux.resources` as writes into control files, planned for the layout at hand and checked before the first write.

v1: Documentation/admin-guide/cgroup-v1; v2: Documentation/admin-guide/cgroup-v2.rst. A limit whose controller is not
there is refused by name.
"""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from barque_runtime_native.cgroup_layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

INT64 = 2**63 - 1


class Setting:
    """One value for one control file; `field` is the member of the configuration that asked for it.

    `other` is the file and value of the BFQ scheduler, where the kernel has that in place of `file`.
    """

    __slots__ = ("controller", "field", "file", "other", "value")

    def __init__(
        self, controller: str, file: str, value: object, field: str, other: tuple[str, object] | None = None
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = str(value)
        self.field = field
        self.other = other

    def describe(self) -> str:
        """One line for people."""
        return f"cgroup {self.file} = {self.value}"

    def execute(self, directory: str) -> None:
        """Write it. Errors: InvalidArgument or FailedPrecondition that names the field."""
        try:
            fd = os.open(f"{directory}/{self.file}", os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if self.other:
                Setting(self.controller, *self.other, self.field).execute(directory)
                return
            raise FailedPrecondition(
                f"{self.field} is set but this kernel has no {self.file}",
                hint="remove it, or enable it in the kernel",
            ) from error
        try:
            os.write(fd, self.value.encode())
        except OSError as error:
            kind = ResourceExhausted if isinstance(error, BlockingIOError) else InvalidArgument
            raise kind(
                f"{self.field}: cannot write {self.value!r} to {self.file}: {error.strerror}"
            ) from error
        finally:
            os.close(fd)


# field of linux.resources: (controller, file of v1)
V1_FILES = {
    "cpu.shares": ("cpu", "cpu.shares"),
    "cpu.realtimePeriod": ("cpu", "cpu.rt_period_us"),
    "cpu.realtimeRuntime": ("cpu", "cpu.rt_runtime_us"),
    "cpu.period": ("cpu", "cpu.cfs_period_us"),
    "cpu.quota": ("cpu", "cpu.cfs_quota_us"),
    "cpu.burst": ("cpu", "cpu.cfs_burst_us"),
    "cpu.idle": ("cpu", "cpu.idle"),
    "memory.limit": ("memory", "memory.limit_in_bytes"),
    "memory.swap": ("memory", "memory.memsw.limit_in_bytes"),
    "memory.reservation": ("memory", "memory.soft_limit_in_bytes"),
    "memory.kernel": ("memory", "memory.kmem.limit_in_bytes"),
    "memory.kernelTCP": ("memory", "memory.kmem.tcp.limit_in_bytes"),
    "memory.swappiness": ("memory", "memory.swappiness"),
    "network.classID": ("net_cls", "net_cls.classid"),
}
# Zero means "not set" for these: that is how runc, dockerd and podman use them.
ZERO_IS_UNSET = frozenset(V1_FILES) - {"memory.swappiness", "cpu.idle"}


def plan_settings(resources: Section, layout: Layout) -> list[Setting]:
    """All settings but device rules, in the order the kernel wants them."""
    settings = _plan_v2(resources) if layout.unified else _plan_v1(resources)
    for setting in settings:
        if not layout.unified and layout.of(setting.controller) is None:
            raise FailedPrecondition(
                f"{setting.field} is set but the cgroup controller {setting.controller} is not mounted",
                hint=f"mount the {setting.controller} hierarchy",
            )
    return settings


def numbers(resources: Section) -> dict[str, tuple[int, str]]:
    """The integers of V1_FILES that are set, in its order: short name -> (value, full name)."""
    found = {}
    for name in V1_FILES:
        group, _, key = name.partition(".")
        section = resources.section(group)
        value = section.integer(key, -1, 2**64 - 1)
        if value is None or (value == 0 and name in ZERO_IS_UNSET):
            continue
        found[name] = (value, section.path(key))
    return found


def _plan_v1(resources: Section) -> list[Setting]:
    if resources.mapping("unified"):
        raise FailedPrecondition(
            f"{resources.path('unified')} needs cgroup v2, and this host has v1", hint="use the v1 fields"
        )
    settings = [Setting(*V1_FILES[name], value, field) for name, (value, field) in numbers(resources).items()]
    memory = resources.section("memory")
    if memory.boolean("disableOOMKiller"):
        settings.append(Setting("memory", "memory.oom_control", 1, memory.path("disableOOMKiller")))
    if memory.boolean("useHierarchy"):
        settings.append(Setting("memory", "memory.use_hierarchy", 1, memory.path("useHierarchy")))
    settings += _cpuset(resources)
    settings += _pids(resources)
    settings += _hugepages(resources, "limit_in_bytes")
    settings += _blkio_v1(resources.section("blockIO"))
    network = resources.section("network")
    for item in network.sections("priorities"):
        value = f"{item.required('name')} {item.integer('priority', 0, 2**32 - 1) or 0}"
        settings.append(Setting("net_prio", "net_prio.ifpriomap", value, network.path("priorities")))
    return settings


def _plan_v2(resources: Section) -> list[Setting]:
    found = numbers(resources)
    for name in ("cpu.realtimePeriod", "cpu.realtimeRuntime", "memory.kernel", "memory.kernelTCP", "memory.swappiness",
                 "network.classID"):  # fmt: skip
        if name in found:
            raise FailedPrecondition(f"{found[name][1]} does not exist on cgroup v2", hint="remove it")
    if resources.section("memory").boolean("disableOOMKiller"):
        raise FailedPrecondition(f"{resources.path('memory.disableOOMKiller')} does not exist on cgroup v2")
    if resources.section("network").sections("priorities"):
        raise FailedPrecondition(f"{resources.path('network.priorities')} does not exist on cgroup v2")
    settings = _cpu_v2(found) + _memory_v2(found) + _cpuset(resources) + _pids(resources)
    settings += _hugepages(resources, "max")
    settings += _blkio_v2(resources.section("blockIO"))
    for file, value in resources.mapping("unified").items():
        if "/" in file or not file:
            raise InvalidArgument(f"{resources.path('unified')}: {file!r} is not a file name")
        settings.append(
            Setting(file.partition(".")[0], file, value, f"{resources.path('unified')}[{file!r}]")
        )
    return settings


def _cpu_v2(found: dict[str, tuple[int, str]]) -> list[Setting]:
    settings = []
    if "cpu.shares" in found:
        shares, field = found["cpu.shares"]
        # shares 2 to 262144 map onto weight 1 to 10000
        weight = 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142
        settings.append(Setting("cpu", "cpu.weight", weight, field))
    quota, period = found.get("cpu.quota"), found.get("cpu.period")
    if quota or period:
        runtime = quota[0] if quota and quota[0] > 0 else "max"
        field = (quota or period or (0, ""))[1]
        settings.append(Setting("cpu", "cpu.max", f"{runtime} {period[0] if period else 100000}", field))
    for name, file in (("cpu.burst", "cpu.max.burst"), ("cpu.idle", "cpu.idle")):
        if name in found:
            settings.append(Setting("cpu", file, *found[name]))
    return settings


def _memory_v2(found: dict[str, tuple[int, str]]) -> list[Setting]:
    settings = []
    limit = found.get("memory.limit", (0, ""))[0]
    if "memory.limit" in found:
        settings.append(
            Setting("memory", "memory.max", "max" if limit < 0 else limit, found["memory.limit"][1])
        )
    if "memory.swap" in found:
        swap, field = found["memory.swap"]
        if swap >= 0 and (limit <= 0 or swap < limit):
            raise InvalidArgument(f"{field} includes the memory limit and must not be below it")
        settings.append(Setting("memory", "memory.swap.max", "max" if swap < 0 else swap - limit, field))
    if "memory.reservation" in found:
        value, field = found["memory.reservation"]
        settings.append(Setting("memory", "memory.low", "max" if value < 0 else value, field))
    return settings


def _cpuset(resources: Section) -> list[Setting]:
    cpu = resources.section("cpu")
    return [
        Setting("cpuset", f"cpuset.{key}", cpu.text(key), cpu.path(key))
        for key in ("cpus", "mems")
        if cpu.text(key)
    ]


def _pids(resources: Section) -> list[Setting]:
    pids = resources.section("pids")
    limit = pids.integer("limit", -INT64, INT64)
    if not limit:
        return []
    return [Setting("pids", "pids.max", limit if limit > 0 else "max", pids.path("limit"))]


def _hugepages(resources: Section, suffix: str) -> list[Setting]:
    settings = []
    for item in resources.sections("hugepageLimits"):
        size, limit = item.required("pageSize"), item.integer("limit")
        if "/" in size:
            raise InvalidArgument(f"{item.path('pageSize')}: {size!r}")
        settings.append(Setting("hugetlb", f"hugetlb.{size}.{suffix}", limit or 0, item.name))
    return settings


def _device(item: Section) -> str:
    return f"{item.integer('major', 0, 2**32)}:{item.integer('minor', 0, 2**32)}"


THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def _blkio_v1(block: Section) -> list[Setting]:
    settings = []
    for key, name in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if value := block.integer(key, 0, 1000):
            other = (f"blkio.bfq.{name}", value)
            settings.append(Setting("blkio", f"blkio.{name}", value, block.path(key), other))
    for item in block.sections("weightDevice"):
        for key, name in (("weight", "weight"), ("leafWeight", "leaf_weight")):
            if value := item.integer(key, 0, 1000):
                text = f"{_device(item)} {value}"
                settings.append(
                    Setting(
                        "blkio",
                        f"blkio.{name}_device",
                        text,
                        item.path(key),
                        (f"blkio.bfq.{name}_device", text),
                    )
                )
    return settings + [
        Setting("blkio", file, f"{_device(item)} {item.integer('rate') or 0}", item.name)
        for key, file, _ in THROTTLES
        for item in block.sections(key)
    ]


def _blkio_v2(block: Section) -> list[Setting]:
    settings = []
    if block.has("leafWeight"):
        raise FailedPrecondition(f"{block.path('leafWeight')} does not exist on cgroup v2", hint="remove it")
    if weight := block.integer("weight", 0, 1000):
        # weights 10 to 1000 map onto 1 to 10000
        scaled = 1 + (max(weight, 10) - 10) * 9999 // 990
        settings.append(Setting("io", "io.weight", scaled, block.path("weight"), ("io.bfq.weight", weight)))
    for item in block.sections("weightDevice"):
        value = item.integer("weight", 0, 1000) or 0
        text = f"{_device(item)} {value}"
        settings.append(Setting("io", "io.weight", text, item.name, ("io.bfq.weight", text)))
    return settings + [
        Setting("io", "io.max", f"{_device(item)} {name}={item.integer('rate') or 'max'}", item.name)
        for key, _, name in THROTTLES
        for item in block.sections(key)
    ]
