"""`barque-runtime update`: new limits from options or from JSON."""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup import update as cgroup_update
from barque_runtime_native.commands.options import Options
from barque_runtime_native.jsontext import loads
from barque_runtime_native.spec import Section
from barque_runtime_native.state import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_RESOURCES = 16 << 20
# option: (group and member of linux.resources, how it is read)
NUMBER, SIZE, TEXT = "number", "size", "text"
OPTIONS = {
    "blkio-weight": ("blockIO", "weight", NUMBER),
    "cpu-period": ("cpu", "period", NUMBER),
    "cpu-quota": ("cpu", "quota", NUMBER),
    "cpu-burst": ("cpu", "burst", NUMBER),
    "cpu-share": ("cpu", "shares", NUMBER),
    "cpu-rt-period": ("cpu", "realtimePeriod", NUMBER),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", NUMBER),
    "cpu-idle": ("cpu", "idle", NUMBER),
    "cpuset-cpus": ("cpu", "cpus", TEXT),
    "cpuset-mems": ("cpu", "mems", TEXT),
    "kernel-memory": ("memory", "kernel", SIZE),
    "kernel-memory-tcp": ("memory", "kernelTCP", SIZE),
    "memory": ("memory", "limit", SIZE),
    "memory-reservation": ("memory", "reservation", SIZE),
    "memory-swap": ("memory", "swap", SIZE),
    "pids-limit": ("pids", "limit", NUMBER),
}

RDT = {"l3-cache-schema": "l3CacheSchema", "mem-bw-schema": "memBwSchema"}


def update(root: str, options: Options) -> int:
    """Change limits. With --resources the other options are ignored, as runc does."""
    if len(options.words) != 1:
        raise InvalidArgument("update needs one container id")
    source = options.values.get("resources")
    resources = read_resources(source) if source else from_options(options)
    cgroup_update.update(options.words[0], root, resources)
    schemata = {key: options.values[name] for name, key in RDT.items() if options.values.get(name)}
    if schemata and not source:
        update_schemata(Store(root, options.words[0]), schemata)
    return 0


def update_schemata(store: Store, schemata: dict[str, str]) -> None:
    """Change the container's share of cache and memory bandwidth. Errors: FailedPrecondition without Intel RDT."""
    # Imported for those who need it.
    from barque_runtime_native.cgroup.intel_rdt import IntelRdt, write

    config = store.read()["config"].get("linux", {}).get("intelRdt") or {}
    section = Section({**schemata, "closID": config.get("closID", "")}, "linux.intelRdt")
    rdt = IntelRdt(section, store.id)
    rdt.check_host()
    try:
        for line in rdt.shares:
            write(f"{rdt.directory}/schemata", line)
    except FileNotFoundError:
        raise FailedPrecondition(
            f"container {store.id} has no class of service", hint="set linux.intelRdt when it is created"
        ) from None
    except OSError as error:
        raise InvalidArgument(
            f"linux.intelRdt: {rdt.directory}/schemata: {(error.strerror or '').lower()}"
        ) from error


def from_options(options: Options) -> dict[str, Any]:
    """`linux.resources` of what was given. Errors: InvalidArgument that names the option."""
    resources: dict[str, Any] = {}
    for name, (group, key, kind) in OPTIONS.items():
        if text := options.values.get(name):
            value: object = text
            if kind == SIZE:
                value = cgroup_update.size(text, f"--{name}")
            elif kind == NUMBER:
                value = number(text, name)
            resources.setdefault(group, {})[key] = value
    return resources


def number(text: str, name: str) -> int:
    """A whole number, perhaps negative."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise InvalidArgument(f"invalid value for --{name}: {text!r} is not a number")
    return int(text)


def read_resources(source: str) -> dict[str, Any]:
    """The JSON object in a file, or with `-` on standard input."""
    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as file:
            data = file.read(MAX_RESOURCES + 1)
        if len(data) > MAX_RESOURCES:
            raise ValueError("it is too long")
        resources = loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"--resources {source}: {error}") from error
    except OSError as error:
        raise InvalidArgument(f"--resources {source}: {(error.strerror or '').lower()}") from error
    if not isinstance(resources, dict):
        raise InvalidArgument(f"--resources {source}: not a JSON object")
    return resources
