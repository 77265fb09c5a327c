"""Docker's HostConfig, from the flags of `run` and `create`."""

from __future__ import annotations

from barque.cli.errors import CliError
from barque.cli.flags import Values
from barque.cli.resource_flags import RESOURCE_NUMBERS, RESOURCE_TEXTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["host_config", "restart_policy"]

_FLAGS = {
    "Privileged": "privileged",
    "ReadonlyRootfs": "read-only",
    "PublishAllPorts": "publish-all",
    "OomKillDisable": "oom-kill-disable",
}
_TEXTS = {
    "Runtime": "runtime",
    "IpcMode": "ipc",
    "PidMode": "pid",
    "UTSMode": "uts",
    "UsernsMode": "userns",
    "CgroupnsMode": "cgroupns",
    "CgroupParent": "cgroup-parent",
    "ContainerIDFile": "cidfile",
    "VolumeDriver": "volume-driver",
    "Isolation": "isolation",
    **RESOURCE_TEXTS,
}
_NUMBERS = {"OomScoreAdj": "oom-score-adj", "ShmSize": "shm-size", **RESOURCE_NUMBERS}
_LISTS = {
    "GroupAdd": "group-add",
    "DnsOptions": "dns-option",
    "DnsSearch": "dns-search",
    "VolumesFrom": "volumes-from",
}
# The namespace modes that are more than a word of the engine's, and the complaint about others.
_MODES = {
    "pid": (("", "host"), "--pid: invalid PID mode"),
    "uts": (("", "host"), "--uts: invalid UTS mode"),
    "userns": (("", "host"), "--userns: invalid USER mode"),
    "cgroupns": (("", "host", "private"), "--cgroupns: invalid CGROUP mode"),
}


_WINDOWS = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")


def host_config(values: Values) -> dict[str, Any]:
    """What was asked for, no more. Raises CliError in Docker's words."""
    _check(values)
    host: dict[str, Any] = {"AutoRemove": values.flag("rm")}
    host |= {key: True for key, name in _FLAGS.items() if values.flag(name)}
    host |= {key: values.text(name) for key, name in _TEXTS.items() if values.given(name)}
    host |= {key: values.number(name) for key, name in _NUMBERS.items() if values.given(name)}
    host |= {key: values.all(name) for key, name in _LISTS.items() if values.given(name)}
    if values.given("dns"):
        from barque.cli.keyvalues import dns_server

        host["Dns"] = [dns_server(value) for value in values.all("dns")]
    if values.given("link"):
        from barque.cli.keyvalues import link

        host["Links"] = [link(value) for value in values.all("link")]
    if values.given("init"):
        host["Init"] = values.flag("init")
    for key, name in (("CapAdd", "cap-add"), ("CapDrop", "cap-drop")):
        if values.given(name):
            host[key] = [_capability(value) for value in values.all(name)]
    if values.given("restart"):
        host["RestartPolicy"] = restart_policy(values.text("restart"))
    _maps(values, host)
    if values.given("ulimit"):
        from barque.cli.keyvalues import ulimit

        host["Ulimits"] = [ulimit(value) for value in values.all("ulimit")]
    if values.given("security-opt"):
        from barque.cli.security import security_options

        host.update(security_options(values.all("security-opt")))
    _devices(values, host)
    return host


def _check(values: Values) -> None:
    swappiness = values.number("memory-swappiness")
    if not -1 <= swappiness <= 100:
        raise CliError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for name, (known, complaint) in _MODES.items():
        mode = values.text(name)
        if mode not in known and not (name == "pid" and mode.startswith("container:") and mode[10:]):
            raise CliError(complaint)
    if values.flag("rm") and restart_policy(values.text("restart"))["Name"] not in ("", "no"):
        raise CliError("conflicting options: cannot specify both --restart and --rm")
    for name in _WINDOWS:
        if values.given(name):
            raise CliError(
                f'"--{name}" is only supported on a daemon running on windows, but the Barque daemon is running on linux'
            )
    if not values.flag("disable-content-trust"):
        raise CliError("content trust is not supported", hint="name the image by its digest")
    if values.text("log-driver") == "none" and values.all("log-opt"):
        raise CliError("invalid logging opts for driver none")


def _maps(values: Values, host: dict[str, Any]) -> None:
    """What is given as key=value pairs."""
    fields = {"Sysctls": "sysctl", "Annotations": "annotation", "StorageOpt": "storage-opt"}
    wanted = [(key, name) for key, name in fields.items() if values.given(name)]
    logging = values.given("log-driver") or values.given("log-opt")
    if not wanted and not logging:
        return
    from barque.cli.keyvalues import mapping, sysctl

    for key, name in wanted:
        pairs = values.all(name)
        if name == "sysctl":
            pairs = [sysctl(pair) for pair in pairs]
        elif name == "storage-opt" and not all("=" in pair for pair in pairs):
            raise CliError("invalid storage option")
        host[key] = mapping(pairs)
    if logging:
        host["LogConfig"] = {"Type": values.text("log-driver"), "Config": mapping(values.all("log-opt"))}


def _devices(values: Values, host: dict[str, Any]) -> None:
    flags = ("device", "device-cgroup-rule", "gpus", "blkio-weight-device", "device-read-bps", "device-read-iops",
             "device-write-bps", "device-write-iops")  # fmt: skip
    if not any(values.given(name) for name in flags):
        return
    from barque.cli import device_options as options

    mappings, requests = options.devices(values.all("device"))
    requests = [options.gpu_request(value) for value in values.all("gpus")] + requests
    found = {
        "Devices": mappings,
        "DeviceRequests": requests,
        "DeviceCgroupRules": [options.cgroup_rule(value) for value in values.all("device-cgroup-rule")],
        "BlkioWeightDevice": [options.weight(value) for value in values.all("blkio-weight-device")],
    }
    for key, name in options.THROTTLES.items():
        found[key] = [options.throttle(name, value) for value in values.all(name)]
    host.update({key: items for key, items in found.items() if items})


def _capability(name: str) -> str:
    """The kernel's name of a capability: `net_admin` is CAP_NET_ADMIN. ALL stays."""
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def restart_policy(value: str) -> dict[str, Any]:
    """`on-failure:3`, `always`. Raises CliError in Docker's words."""
    name, colon, count = value.partition(":")
    if colon and not name:
        raise CliError("invalid restart policy format: no policy provided before colon")
    if count and not (count.isascii() and count.removeprefix("-").isdigit()):
        raise CliError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}
