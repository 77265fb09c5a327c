"""Operations on the daemon itself: ping, version, info."""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import Any

from barque_api_docker.call import Call, json_response
from barque_api_docker.http import Response
from barque_api_docker.translate.text import rfc3339
from barque_api_docker.version import API_VERSION, MIN_API_VERSION

__all__ = ["info", "ping", "version"]

_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def ping(_: Call) -> Response:
    """`GET` and `HEAD /_ping`."""
    return Response(200, b"OK", "text/plain; charset=utf-8", _NO_CACHE)


def version(call: Call) -> Response:
    """`GET /version`."""
    facts = {
        "ApiVersion": "{}.{}".format(*API_VERSION),
        "MinAPIVersion": "{}.{}".format(*MIN_API_VERSION),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": _GO_ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "KernelVersion": os.uname().release,
        "BuildTime": "",
    }
    engine = call.engine.info()
    details = {
        **facts,
        "Experimental": "false",
        "Profile": engine.profile,
        "PythonVersion": ".".join(map(str, sys.version_info[:3])),
    }
    component = {"Name": "Engine", "Version": engine.version, "Details": details}
    return json_response(
        {"Platform": {"Name": "Barque"}, "Components": [component], "Version": engine.version, **facts}
    )


def info(call: Call) -> Response:
    """`GET /info`."""
    engine = call.engine.info()
    states = [container.state.status for container in call.engine.container_list()]
    running, paused = states.count("running"), states.count("paused")
    return json_response(
        {
            "ID": engine.id,
            "Containers": len(states),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(states) - running - paused,
            "Images": len(call.engine.image_list()),
            "Driver": engine.storage_driver,
            "DriverStatus": [["Profile", engine.profile]],
            "Plugins": {
                "Volume": [],
                "Network": list(engine.networks),
                "Authorization": None,
                "Log": list(engine.log_drivers),
            },
            "LoggingDriver": engine.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": engine.cgroup_version,
            "Runtimes": {name: {"path": driver} for name, driver in engine.runtimes.items()},
            "DefaultRuntime": engine.default_runtime,
            "DockerRootDir": engine.root,
            "ServerVersion": engine.version,
            "SystemTime": rfc3339(time.time_ns()),
            "LiveRestoreEnabled": True,
            "SecurityOptions": ["name=seccomp,profile=builtin", *_rootless()],
            "Warnings": list(engine.warnings),
            "NFd": len(os.listdir("/proc/self/fd")),
            **_host(),
            **_UNUSED,
        }
    )


def _rootless() -> tuple[str, ...]:
    """Docker's word for an engine that is root in a user namespace only (user_namespaces(7))."""
    with open("/proc/self/uid_map", "rb") as file:
        whole = file.read(4096).split() == [b"0", b"0", b"4294967295"]
    return () if whole else ("name=rootless",)


_UNUSED: dict[str, Any] = {
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "OomKillDisable": True,
    "BridgeNfIptables": False,
    "BridgeNfIp6tables": False,
    "Debug": False,
    "NGoroutines": 0,
    "NEventsListener": 0,
    "IndexServerAddress": "https://index.docker.io/v1/",
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
        "Mirrors": [],
    },
    "GenericResources": None,
    "HttpProxy": "",
    "HttpsProxy": "",
    "NoProxy": "",
    "Labels": [],
    "ExperimentalBuild": False,
    "Swarm": {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    },
    "Isolation": "",
    "InitBinary": "",
    "ContainerdCommit": {"ID": "", "Expected": ""},
    "RuncCommit": {"ID": "", "Expected": ""},
    "InitCommit": {"ID": "", "Expected": ""},
}


@cache
def _host() -> dict[str, Any]:
    """Facts of the host that do not change while we run."""
    names = _os_release()
    return {
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "KernelVersion": os.uname().release,
        "OperatingSystem": names.get("PRETTY_NAME", "Linux"),
        "OSVersion": names.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "Name": os.uname().nodename,
        "IPv4Forwarding": _ip_forward(),
    }


def _os_release() -> dict[str, str]:
    import platform  # for the first /info only

    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _ip_forward() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False
