"""`HostConfig` as inspect shows it: Docker's defaults, over them what the client sent, over that what was resolved."""

from __future__ import annotations

from typing import Any

from barque.spi.frontend import Container, Resources
from barque_api_docker.translate.lifecycle import restart_policy_document

__all__ = ["host_config", "network_mode"]

_SHM_SIZE = 64 << 20
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
]  # fmt: skip
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_DEFAULTS: dict[str, Any] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "", "Config": {}},
    "NetworkMode": "default",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "host",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "private",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": _SHM_SIZE,
    "Runtime": "",
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": False,
    "PidsLimit": None,
    "Ulimits": [],
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": _MASKED,
    "ReadonlyPaths": _READONLY,
}


def host_config(container: Container) -> dict[str, Any]:
    """The container's HostConfig, complete."""
    config = container.config
    document = {**_DEFAULTS, **(config.document.get("HostConfig") or {})}
    document["NetworkMode"] = network_mode(container)
    document["LogConfig"] = {"Type": container.log_driver, "Config": dict(config.log_options)}
    document["Runtime"] = container.runtime
    document["RestartPolicy"] = restart_policy_document(config.restart)
    document["ShmSize"] = config.shm_size or _SHM_SIZE
    document.update(_limits(config.resources))  # as they are now: an update may have changed them
    document["CgroupnsMode"] = config.cgroupns_mode or "host"
    document["IpcMode"] = config.ipc_mode or "private"
    document["OomKillDisable"] = config.resources.oom_kill_disable
    document["MemorySwap"] = config.resources.memory_swap or 2 * config.resources.memory
    swappiness = config.resources.memory_swappiness
    document["MemorySwappiness"] = None if swappiness == -1 else swappiness
    if config.privileged:
        document["MaskedPaths"] = document["ReadonlyPaths"] = None
    if config.masked_paths is not None:
        document["MaskedPaths"] = list(config.masked_paths)
    if config.readonly_paths is not None:
        document["ReadonlyPaths"] = list(config.readonly_paths)
    return document


def _limits(resources: Resources) -> dict[str, Any]:
    limits = {
        "Memory": resources.memory,
        "MemoryReservation": resources.memory_reservation,
        "NanoCpus": resources.nano_cpus,
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids_limit or None,
        "BlkioWeight": resources.blkio_weight,
    }
    return {name: value for name, value in limits.items() if value}


def network_mode(container: Container) -> str:
    """`HostConfig.NetworkMode`: docker 28 shows the default network as `bridge`."""
    return "bridge" if container.config.network == "default" else container.config.network
