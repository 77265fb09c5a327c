"""`linux.resources.blockIO`.

Weights are the work of an I/O scheduler or policy, and each brought files of its own: CFQ `blkio.weight` (until Linux
4.20), BFQ `blkio.bfq.weight` and on v2 `io.bfq.weight`, iocost `io.weight` on v2 with a scale of its own.
"""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

LOWEST, HIGHEST = 10, 1000
THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def plan_block_io(block: Section, *, unified: bool) -> list[Setting]:
    """Its settings. Errors: InvalidArgument; FailedPrecondition for leafWeight on v2."""
    return _plan_v2(block) if unified else _plan_v1(block)


def weight(section: Section, key: str) -> int:
    """A weight; 0 when it is not set."""
    value = section.integer(key, 0, HIGHEST) or 0
    if 0 < value < LOWEST:
        raise InvalidArgument(f"{section.path(key)} is not an integer from {LOWEST} to {HIGHEST}: {value}")
    return value


def device(item: Section) -> str:
    """`major:minor`."""
    major, minor = (item.integer(key, 0, 2**32 - 1) for key in ("major", "minor"))
    if major is None or minor is None:
        raise InvalidArgument(f"{item.name} needs major and minor")
    return f"{major}:{minor}"


def weighted_devices(block: Section) -> list[Section]:
    """The entries of weightDevice, which say at least one weight."""
    items = block.sections("weightDevice")
    for item in items:
        if not weight(item, "weight") and not weight(item, "leafWeight"):
            raise InvalidArgument(f"{item.name} needs weight or leafWeight")
    return items


def _plan_v1(block: Section) -> list[Setting]:
    settings = []
    for key, name in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if value := weight(block, key):
            other = (f"blkio.bfq.{name}", value)
            settings.append(Setting("blkio", f"blkio.{name}", value, block.path(key), other))
    for item in weighted_devices(block):
        for key, name in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if value := weight(item, key):
                text = f"{device(item)} {value}"
                settings.append(
                    Setting("blkio", f"blkio.{name}", text, item.path(key), (f"blkio.bfq.{name}", text),
                            reset=f"{device(item)} default")
                )  # fmt: skip
    return settings + [
        Setting(
            "blkio", file, f"{device(item)} {item.integer('rate') or 0}", item.name, reset=f"{device(item)} 0"
        )
        for key, file, _ in THROTTLES
        for item in block.sections(key)
    ]


def scaled(value: int) -> int:
    """A weight of v1 and BFQ, 10 to 1000, as one of iocost, 1 to 10000."""
    return 1 + (value - LOWEST) * 9999 // (HIGHEST - LOWEST)


def _plan_v2(block: Section) -> list[Setting]:
    settings = []
    for section in (block, *weighted_devices(block)):
        if weight(section, "leafWeight"):
            raise FailedPrecondition(
                f"{section.path('leafWeight')} does not exist on cgroup v2: only cgroups without children have processes",
                hint="remove it",
            )
        if not (value := weight(section, "weight")):
            continue
        start = "" if section is block else f"{device(section)} "
        other = ("io.weight", f"{start}{scaled(value)}")
        settings.append(
            Setting("io", "io.bfq.weight", f"{start}{value}", section.path("weight"), other,
                    reset=f"{start}default" if start else "")
        )  # fmt: skip
    return settings + [
        Setting("io", "io.max", f"{device(item)} {name}={item.integer('rate') or 'max'}", item.name,
                reset=f"{device(item)} rbps=max wbps=max riops=max wiops=max")
        for key, _, name in THROTTLES
        for item in block.sections(key)
    ]  # fmt: skip
