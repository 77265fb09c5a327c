"""`linux.resources` as writes into control files, planned for the layout at hand and checked before the first write.

v1: Documentation/admin-guide/cgroup-v1; v2: Documentation/admin-guide/cgroup-v2.rst. A limit whose controller is not
there is refused by name. Numbers that are 0 and texts that are empty are not set: so runc, dockerd and podman use them.
"""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.layout import Layout
    from barque_runtime_native.spec import Section

INT64 = 2**63 - 1

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
# Zero means something only for these.
ZERO_IS_SET = ("memory.swappiness", "cpu.idle")


def plan_settings(resources: Section, layout: Layout) -> list[Setting]:
    """All settings but device rules; those whose controller is not mounted, but ask for no limit, are left out."""
    if layout.unified:
        # Imported on such hosts only.
        from barque_runtime_native.cgroup.settings_v2 import plan_v2

        return plan_v2(resources)
    settings = []
    for setting in _plan_v1(resources):
        if layout.of(setting.controller) is None:
            if setting.unlimited():
                continue
            from barque_runtime_native.cgroup.missing import missing

            raise missing(setting.field, setting.controller, layout, rootless=layout.rootless)
        settings.append(setting)
    return settings


def numbers(resources: Section) -> dict[str, tuple[int, str]]:
    """The integers of V1_FILES that are set, in its order: short name -> (value, full name).

    A memory limit that is lifted lifts the one of memory and swap, unless that is set.
    """
    found = {}
    for name in V1_FILES:
        group, _, key = name.partition(".")
        section = resources.section(group)
        value = section.integer(key, -1, 2**64 - 1)
        if value is None or (value == 0 and name not in ZERO_IS_SET):
            continue
        found[name] = (value, section.path(key))
    if found.get("memory.limit", (0, ""))[0] < 0 and "memory.swap" not in found:
        found["memory.swap"] = found["memory.limit"]
    return found


def _plan_v1(resources: Section) -> list[Setting]:
    if resources.mapping("unified"):
        raise FailedPrecondition(
            f"{resources.path('unified')} needs cgroup v2, and this host has v1", hint="use the v1 fields"
        )
    settings = [Setting(*V1_FILES[name], value, field) for name, (value, field) in numbers(resources).items()]
    memory = resources.section("memory")
    for key, file in (("disableOOMKiller", "oom_control"), ("useHierarchy", "use_hierarchy")):
        if memory.boolean(key):
            settings.append(Setting("memory", f"memory.{file}", 1, memory.path(key)))
    settings += plan_common(resources, unified=False)
    network = resources.section("network")
    for item in network.sections("priorities"):
        name, priority = item.required("name"), item.integer("priority", 0, 2**32 - 1) or 0
        settings.append(
            Setting("net_prio", "net_prio.ifpriomap", f"{name} {priority}", item.name, reset=f"{name} 0")
        )
    return settings


def plan_common(resources: Section, *, unified: bool) -> list[Setting]:
    """What v1 and v2 have alike: cpuset, pids, huge pages, RDMA, block devices."""
    # it is for updates (`update`); a value that is no boolean is an error all the same
    resources.section("memory").boolean("checkBeforeUpdate")
    cpu = resources.section("cpu")
    settings = [
        Setting("cpuset", f"cpuset.{key}", cpu.text(key), cpu.path(key))
        for key in ("cpus", "mems")
        if cpu.text(key)
    ]
    pids = resources.section("pids")
    if limit := pids.integer("limit", -INT64, INT64):
        settings.append(Setting("pids", "pids.max", limit if limit > 0 else "max", pids.path("limit")))
    for item in resources.sections("hugepageLimits"):
        settings += _hugepages(item, "max" if unified else "limit_in_bytes")
    rdma = resources.section("rdma")
    for name in rdma.names():
        settings.append(_rdma(rdma.section(name), name))
    block = resources.section("blockIO")
    if any(block.values.values()):
        from barque_runtime_native.cgroup.block_io import plan_block_io

        settings += plan_block_io(block, unified=unified)
    return settings


def _hugepages(item: Section, suffix: str) -> list[Setting]:
    """The limit of pages in use, and of pages reserved by mappings: without that one a container gets SIGBUS."""
    size, limit = item.required("pageSize"), item.integer("limit")
    digits, unit = size[:-2], size[-2:]
    if not digits.isascii() or not digits.isdigit() or digits[0] == "0" or unit not in ("KB", "MB", "GB"):
        raise InvalidArgument(f"{item.path('pageSize')}: {size!r} is not a size such as 2MB")
    if limit is None:
        raise InvalidArgument(f"{item.path('limit')} is missing")
    # the kernel reads a signed number
    value, field = min(limit, INT64), item.name
    return [
        Setting("hugetlb", f"hugetlb.{size}.{suffix}", value, field),
        Setting("hugetlb", f"hugetlb.{size}.rsvd.{suffix}", value, field, optional=True),
    ]


def _rdma(limits: Section, device: str) -> Setting:
    words = []
    for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
        value = limits.integer(key, 0, 2**32 - 1)
        if value is not None:
            words.append(f"{word}={value}")
    if not words or not device or len(device.split()) != 1:
        raise InvalidArgument(f"{limits.name} needs hcaHandles or hcaObjects of one device")
    return Setting(
        "rdma", "rdma.max", " ".join((device, *words)), limits.name,
        reset=f"{device} hca_handle=max hca_object=max",
    )  # fmt: skip
