"""Operations on the daemon itself: ping, version, info."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from barque.spi.frontend import EngineInfo
from barque_api_docker import events
from barque_api_docker.call import Call, json_response
from barque_api_docker.http import Response
from barque_api_docker.translate.text import rfc3339
from barque_api_docker.version import API_VERSION, MIN_API_VERSION

__all__ = ["info", "ping", "version"]

_NO_EXPECTED = (1, 49)
_NO_BRIDGE_FILTERING = (1, 50)
# Builder 1 is the one that is asked by POST /build: its answer says what to do instead. 2 would be asked by POST /session.
_PING = (
    ("Builder-Version", "1"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def ping(_: Call) -> Response:
    """`GET` and `HEAD /_ping`."""
    return Response(200, b"OK", "text/plain; charset=utf-8", _PING)


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
    from barque_api_docker import host_facts  # on first use: the daemon's memory at rest is on a budget

    engine = call.engine.info()
    states = [container.state.status for container in call.engine.container_list()]
    running, paused = states.count("running") + states.count("restarting"), states.count("paused")
    able, lacking = host_facts.limits(engine.cgroup_version)
    document = {
        "ID": engine.id,
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
        "Images": len(call.engine.image_list()),
        "Driver": engine.storage_driver,
        "DriverStatus": [
            ["Backing Filesystem", host_facts.file_system(engine.root)],
            ["Profile", engine.profile],
        ],
        "Plugins": _plugins(engine),
        **able,
        "IPv4Forwarding": host_facts.forwarding(),
        "Debug": False,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": threading.active_count(),
        "SystemTime": rfc3339(time.time_ns()),
        "LoggingDriver": engine.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": engine.cgroup_version,
        "NEventsListener": events.listeners(),
        **host_facts.host(),
        **_registries(engine),
        "GenericResources": None,
        "DockerRootDir": engine.root,
        **host_facts.proxies(),
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": engine.version,
        "Runtimes": {name: {"path": driver} for name, driver in engine.runtimes.items()},
        "DefaultRuntime": engine.default_runtime,
        "Swarm": _NO_SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "docker-init",
        "SecurityOptions": host_facts.security_options(engine.cgroup_version),
        "CDISpecDirs": list(engine.cdi_directories),
        "Warnings": [*engine.warnings, *lacking],
    }
    return json_response(document | _by_version(call.api_version, host_facts.bridge_filtering()))


def _plugins(engine: EngineInfo) -> dict[str, Any]:
    return {
        "Volume": sorted(engine.volumes),
        "Network": sorted(engine.networks),
        "Authorization": list(engine.authorizations) or None,
        "Log": sorted(engine.log_drivers),
    }


def _registries(engine: EngineInfo) -> dict[str, Any]:
    """Registries on loopback may be spoken to in clear, as by dockerd."""
    hub = {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
    index = (
        "https://index.docker.io/v1/"
        if engine.default_registry == "docker.io"
        else f"https://{engine.default_registry}/v2/"
    )
    return {
        "IndexServerAddress": index,
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {"docker.io": hub},
            "Mirrors": None,
        },
    }


_NO_SWARM: dict[str, Any] = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _by_version(version: tuple[int, int], filtering: dict[str, bool]) -> dict[str, Any]:
    """What is told to some versions only. (There is no containerd, runc or init that would have a commit.)"""
    commit = {"ID": "N/A", "Expected": "N/A"} if version < _NO_EXPECTED else {"ID": "N/A"}
    commits = dict.fromkeys(("ContainerdCommit", "RuncCommit", "InitCommit"), commit)
    if version < _NO_BRIDGE_FILTERING:
        return commits | filtering
    return commits | {"FirewallBackend": {"Driver": "nftables"}}
