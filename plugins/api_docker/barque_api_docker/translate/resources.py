"""The limits and devices of a `HostConfig`."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import DeviceMapping, DeviceRate, DeviceRequest, Resources, Ulimit
from barque_api_docker.fields import Fields

__all__ = ["device_requests", "devices", "oom_score", "read_resources", "shared_memory_size", "ulimits"]


def read_resources(host: Fields) -> Resources:
    """The limits in a HostConfig, or in the body of an update. Whether they can be had is for the engine to say. Errors: InvalidArgument."""
    swappiness = host.optional_number("MemorySwappiness")
    _refuse_windows(host)
    return Resources(
        memory=_not_negative(host, "Memory"),
        memory_swap=host.number("MemorySwap"),
        memory_reservation=_not_negative(host, "MemoryReservation"),
        memory_swappiness=-1 if swappiness is None else swappiness,
        nano_cpus=_not_negative(host, "NanoCpus"),
        cpu_shares=_not_negative(host, "CpuShares"),
        cpu_period=_not_negative(host, "CpuPeriod"),
        cpu_quota=host.number("CpuQuota"),
        cpu_realtime_period=_not_negative(host, "CpuRealtimePeriod"),
        cpu_realtime_runtime=_not_negative(host, "CpuRealtimeRuntime"),
        cpuset_cpus=host.text("CpusetCpus"),
        cpuset_mems=host.text("CpusetMems"),
        pids_limit=host.number("PidsLimit"),
        blkio_weight=_not_negative(host, "BlkioWeight"),
        blkio_weight_device=_rates(host, "BlkioWeightDevice", "Weight"),
        blkio_read_bps=_rates(host, "BlkioDeviceReadBps", "Rate"),
        blkio_write_bps=_rates(host, "BlkioDeviceWriteBps", "Rate"),
        blkio_read_iops=_rates(host, "BlkioDeviceReadIOps", "Rate"),
        blkio_write_iops=_rates(host, "BlkioDeviceWriteIOps", "Rate"),
        oom_kill_disable=host.flag("OomKillDisable"),
    )


def _refuse_windows(host: Fields) -> None:
    if host.number("IOMaximumBandwidth") or host.number("IOMaximumIOps"):
        raise InvalidArgument(
            "invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"
        )


def _rates(host: Fields, name: str, unit: str) -> tuple[DeviceRate, ...]:
    return tuple(DeviceRate(one.text("Path"), _not_negative(one, unit)) for one in host.parts(name))


def devices(host: Fields) -> tuple[DeviceMapping, ...]:
    """`Devices`."""
    return tuple(
        DeviceMapping(
            one.text("PathOnHost"),
            one.text("PathInContainer") or one.text("PathOnHost"),
            one.text("CgroupPermissions") or "rwm",
        )
        for one in host.parts("Devices")
    )


def device_requests(host: Fields) -> tuple[DeviceRequest, ...]:
    """`DeviceRequests`. Errors: InvalidArgument in Docker's words."""
    return tuple(map(_device_request, host.parts("DeviceRequests")))


def _device_request(one: Fields) -> DeviceRequest:
    count, ids = one.number("Count"), one.texts("DeviceIDs") or ()
    if count and ids:
        raise InvalidArgument("cannot set both Count and DeviceIDs on device request")
    return DeviceRequest(one.text("Driver"), count, ids, _capabilities(one), one.table("Options"))


def _capabilities(one: Fields) -> tuple[tuple[str, ...], ...]:
    alternatives = one.raw.get("Capabilities") or []
    if not isinstance(alternatives, list):
        one.texts("Capabilities")  # says what is wrong with it
    return tuple(
        Fields({"Capabilities": words}, one.name_of("")).texts("Capabilities") or () for words in alternatives
    )


def oom_score(host: Fields) -> int:
    """`OomScoreAdj`. Errors: InvalidArgument."""
    score = host.number("OomScoreAdj")
    if not -1000 <= score <= 1000:
        raise InvalidArgument(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score


def ulimits(host: Fields) -> tuple[Ulimit, ...]:
    """`Ulimits`."""
    return tuple(
        Ulimit(one.text("Name").lower(), one.number("Soft"), one.number("Hard"))
        for one in host.parts("Ulimits")
    )


def shared_memory_size(host: Fields) -> int:
    """`ShmSize`. Errors: InvalidArgument."""
    size = host.number("ShmSize")
    if size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    return size


def _not_negative(host: Fields, name: str) -> int:
    value = host.number(name)
    if value < 0:
        raise InvalidArgument(f"{host.name_of(name)} can not be less than 0")
    return value
