"""`--device`, `--device-cgroup-rule`, `--gpus`, and the limits of devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from barque.cli.csvfields import csv_fields
from barque.cli.errors import CliError, UsageError
from barque.cli.units import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["THROTTLES", "cgroup_rule", "devices", "gpu_request", "throttle", "weight"]

_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", re.ASCII)
# vendor.example.com/class=name, as the Container Device Interface has it
_CDI = re.compile(r"[A-Za-z][\w.-]*/[A-Za-z][\w-]*=[\w.:-]+", re.ASCII)

# The API's fields and the flags that set them.
THROTTLES = {
    "BlkioDeviceReadBps": "device-read-bps",
    "BlkioDeviceReadIOps": "device-read-iops",
    "BlkioDeviceWriteBps": "device-write-bps",
    "BlkioDeviceWriteIOps": "device-write-iops",
}


def devices(flags: Sequence[str]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """(device mappings, device requests): a qualified name of CDI is a request."""
    names = [value for value in flags if _CDI.fullmatch(value)]
    requests = [{"Driver": "cdi", "Count": 0, "DeviceIDs": names}] if names else []
    return [_device(value) for value in flags if value not in names], requests


def _device(value: str) -> dict[str, str]:
    """`/dev/x[:/dev/y[:rwm]]`."""
    host, _, rest = value.partition(":")
    inside, _, permissions = rest.partition(":")
    if inside and not inside.startswith("/") and not permissions:
        if inside.strip("rwm"):
            raise CliError(f"{inside} is not an absolute path")
        inside, permissions = "", inside
    if not host:
        raise CliError(f"bad format for path: {value}")
    if permissions.strip("rwm"):
        raise CliError(f"bad mode specified: {permissions}")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions or "rwm"}


def cgroup_rule(value: str) -> str:
    """`c 42:* rmw`."""
    if not _RULE.fullmatch(value):
        raise _wrong("device-cgroup-rule", value, f"invalid device cgroup format '{value}'")
    return value


def throttle(flag_name: str, value: str) -> dict[str, Any]:
    """`/dev/sda:1mb` for bytes per second, `/dev/sda:1000` for operations."""
    parse: Callable[[str], int] = memory if flag_name.endswith("bps") else _unsigned
    path, rate = _pair(flag_name, value)
    unit = "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    try:
        return {"Path": path, "Rate": parse(rate)}
    except ValueError:
        form = unit if parse is memory else ". Number must be a positive integer"
        why = f"invalid rate for device: {value}. The correct format is <device-path>:<number>{form}"
        raise _wrong(flag_name, value, why) from None


def weight(value: str) -> dict[str, Any]:
    """`/dev/sda:500`, between 10 and 1000, or 0."""
    path, text = _pair("blkio-weight-device", value)
    try:
        number = _unsigned(text)
        if number and not 10 <= number <= 1000:
            raise ValueError
    except ValueError:
        raise _wrong("blkio-weight-device", value, f"invalid weight for device: {value}") from None
    return {"Path": path, "Weight": number}


def _pair(flag_name: str, value: str) -> tuple[str, str]:
    path, colon, text = value.partition(":")
    if not colon:
        raise _wrong(flag_name, value, f"bad format: {value}")
    if not path.startswith("/dev/"):
        raise _wrong(flag_name, value, f"bad format for device path: {value}")
    return path, text


def _unsigned(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def gpu_request(value: str) -> dict[str, Any]:
    """A DeviceRequest of `all`, `2`, or `"device=0,1",capabilities=utility,driver=nvidia`."""
    request: dict[str, Any] = {"Driver": "", "Count": 0, "Options": {}, "Capabilities": [["gpu"]]}
    seen: set[str] = set()
    try:
        for part in csv_fields(value):
            key, equals, setting = part.partition("=")
            if key in seen:
                raise ValueError(f"gpu request key '{key}' can be specified only once")
            seen.add(key)
            if not equals:
                seen.add("count")
                request["Count"] = _count(key)
            else:
                _gpu_field(request, key, setting, part)
    except ValueError as error:
        raise _wrong("gpus", value, str(error)) from None
    if "count" not in seen and "DeviceIDs" not in request:
        request["Count"] = 1
    return request


def _gpu_field(request: dict[str, Any], key: str, setting: str, part: str) -> None:
    if key == "driver":
        request["Driver"] = setting
    elif key == "count":
        request["Count"] = _count(setting)
    elif key == "device":
        request["DeviceIDs"] = setting.split(",")
    elif key == "capabilities":
        request["Capabilities"] = [[*setting.split(","), "gpu"]]
    elif key == "options":
        request["Options"] = {
            name: content for name, _, content in (one.partition("=") for one in csv_fields(setting))
        }
    else:
        raise ValueError(f"unexpected key '{key}' in '{part}'")


def _count(text: str) -> int:
    if text == "all":
        return -1
    if not text.removeprefix("-").isdigit():
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax')
    return int(text)


def _wrong(flag_name: str, value: str, why: str) -> UsageError:
    return UsageError(f'invalid argument "{value}" for "--{flag_name}" flag: {why}')
