"""The body of a create request, from the flags of `run` and `create`."""

from __future__ import annotations

from collections.abc import Mapping

from barque.cli.errors import CliError, UsageError
from barque.cli.flags import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["container_body"]


def container_body(values: Values, environ: Mapping[str, str], *, detached: bool) -> dict[str, Any]:
    """Docker's ContainerCreateRequest. `detached`: nobody will attach (so stdin stays open).

    What was not asked for is left out, so that the daemon's and the image's defaults apply. Raises CliError.
    """
    image, *command = values.arguments
    body = _process(values, environ, image, command, detached=detached)
    host = _host(values)
    _storage(values, body, host)
    _network(values, body, host)
    body["HostConfig"] = host
    return body


def _process(
    values: Values, environ: Mapping[str, str], image: str, command: list[str], *, detached: bool
) -> dict[str, Any]:
    streams = _attach(values, detached=detached)
    interactive = values.flag("interactive")
    body: dict[str, Any] = {
        "Image": image,
        "Tty": values.flag("tty"),
        "OpenStdin": interactive,
        "StdinOnce": interactive and streams["stdin"],
        "AttachStdin": streams["stdin"],
        "AttachStdout": streams["stdout"],
        "AttachStderr": streams["stderr"],
        "Hostname": values.text("hostname"),
        "Domainname": values.text("domainname"),
        "User": values.text("user"),
        "WorkingDir": values.text("workdir"),
        "StopSignal": values.text("stop-signal"),
    }
    if command:
        body["Cmd"] = command
    if values.given("entrypoint"):
        body["Entrypoint"] = [values.text("entrypoint")]
    if values.given("stop-timeout"):
        body["StopTimeout"] = values.number("stop-timeout")
    if values.given("env") or values.given("env-file"):
        from barque.cli.keyvalues import environment

        body["Env"] = environment(values.all("env-file"), values.all("env"), environ)
    if values.given("label") or values.given("label-file"):
        from barque.cli.keyvalues import labels

        body["Labels"] = labels(values.all("label-file"), values.all("label"))
    return body


def _attach(values: Values, *, detached: bool) -> dict[str, bool]:
    chosen = [name.lower() for name in values.all("attach")]
    for name in chosen:
        if name not in ("stdin", "stdout", "stderr"):
            raise UsageError(
                f'invalid argument "{name}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'
            )
    if detached:
        return {"stdin": False, "stdout": False, "stderr": False}
    if not chosen:
        return {"stdin": values.flag("interactive"), "stdout": True, "stderr": True}
    return {name: name in chosen for name in ("stdin", "stdout", "stderr")}


def _host(values: Values) -> dict[str, Any]:
    host: dict[str, Any] = {"AutoRemove": values.flag("rm")}
    for key, name in _FLAGS.items():
        if values.flag(name):
            host[key] = True
    for key, name in _TEXTS.items():
        if values.given(name):
            host[key] = values.text(name)
    for key, name in _NUMBERS.items():
        if values.given(name):
            host[key] = values.number(name)
    for key, name in _LISTS.items():
        if values.given(name):
            host[key] = values.all(name)
    for key, name in (("CapAdd", "cap-add"), ("CapDrop", "cap-drop")):
        if values.given(name):
            host[key] = [_capability(value) for value in values.all(name)]
    if values.given("restart"):
        host["RestartPolicy"] = _restart_policy(values.text("restart"))
    if values.given("log-driver") or values.given("log-opt"):
        from barque.cli.keyvalues import mapping

        host["LogConfig"] = {"Type": values.text("log-driver"), "Config": mapping(values.all("log-opt"))}
    if values.given("sysctl"):
        from barque.cli.keyvalues import mapping

        host["Sysctls"] = mapping(values.all("sysctl"))
    if values.given("ulimit"):
        from barque.cli.keyvalues import ulimit

        host["Ulimits"] = [ulimit(value) for value in values.all("ulimit")]
    if values.given("security-opt"):
        from barque.cli.security import security_options

        host.update(security_options(values.all("security-opt")))
    return host


_FLAGS = {
    "Privileged": "privileged",
    "ReadonlyRootfs": "read-only",
    "Init": "init",
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
    "CpusetCpus": "cpuset-cpus",
    "CpusetMems": "cpuset-mems",
    "ContainerIDFile": "cidfile",
}
_NUMBERS = {
    "Memory": "memory",
    "MemorySwap": "memory-swap",
    "MemoryReservation": "memory-reservation",
    "NanoCpus": "cpus",
    "CpuShares": "cpu-shares",
    "CpuPeriod": "cpu-period",
    "CpuQuota": "cpu-quota",
    "BlkioWeight": "blkio-weight",
    "PidsLimit": "pids-limit",
    "OomScoreAdj": "oom-score-adj",
    "ShmSize": "shm-size",
}
_LISTS = {
    "GroupAdd": "group-add",
    "Dns": "dns",
    "DnsOptions": "dns-option",
    "DnsSearch": "dns-search",
}


def _capability(name: str) -> str:
    """The kernel's name of a capability: `net_admin` is CAP_NET_ADMIN. ALL stays."""
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _restart_policy(value: str) -> dict[str, Any]:
    name, colon, count = value.partition(":")
    if colon and not (count.isascii() and count.isdigit()):
        raise CliError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _storage(values: Values, body: dict[str, Any], host: dict[str, Any]) -> None:
    if values.given("volume"):
        from barque.cli.mounts import volumes

        anonymous, host["Binds"] = volumes(values.all("volume"))
        if anonymous:
            body["Volumes"] = {path: {} for path in anonymous}
    if values.given("mount"):
        from barque.cli.mounts import mount

        host["Mounts"] = [mount(value) for value in values.all("mount")]
    if values.given("tmpfs"):
        pairs = (value.partition(":") for value in values.all("tmpfs"))
        host["Tmpfs"] = {path: options for path, _, options in pairs}
    if values.given("device"):
        from barque.cli.mounts import device

        host["Devices"] = [device(value) for value in values.all("device")]
    if values.given("storage-opt"):
        from barque.cli.keyvalues import mapping

        host["StorageOpt"] = mapping(values.all("storage-opt"))


def _network(values: Values, body: dict[str, Any], host: dict[str, Any]) -> None:
    if values.given("publish") or values.given("expose"):
        from barque.cli.ports import published

        exposed, bindings = published(values.all("publish"), values.all("expose"))
        body["ExposedPorts"] = {port: {} for port in exposed}
        host["PortBindings"] = bindings
    if values.given("add-host"):
        from barque.cli.keyvalues import extra_host

        host["ExtraHosts"] = [extra_host(value) for value in values.all("add-host")]
    networks = [_endpoint(value) for value in values.all("network")] or [("default", {})]
    host["NetworkMode"] = networks[0][0]
    for name, flag_name in (("Aliases", "network-alias"), ("MacAddress", "mac-address")):
        if values.given(flag_name):
            networks[0][1][name] = values.all(flag_name) if name == "Aliases" else values.text(flag_name)
    if values.given("ip"):
        networks[0][1]["IPAMConfig"] = {"IPv4Address": values.text("ip")}
    endpoints = {name: endpoint for name, endpoint in networks if endpoint or len(networks) > 1}
    if endpoints:
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}


def _endpoint(value: str) -> tuple[str, dict[str, Any]]:
    """A network and its endpoint settings: `mynet`, or `name=mynet,alias=web,ip=10.0.0.2,mac-address=…`."""
    if "=" not in value:
        return value, {}
    name, endpoint = "", dict[str, "Any"]()
    for part in value.split(","):
        key, _, setting = part.partition("=")
        if key == "name":
            name = setting
        elif key == "alias":
            endpoint.setdefault("Aliases", []).append(setting)
        elif key == "ip":
            endpoint["IPAMConfig"] = {"IPv4Address": setting}
        elif key == "mac-address":
            endpoint["MacAddress"] = setting
        elif key == "driver-opt":
            option, _, option_value = setting.partition("=")
            endpoint.setdefault("DriverOpts", {})[option] = option_value
        else:
            raise CliError(f"invalid field {key}")
    if not name:
        raise CliError("network name is required")
    return name, endpoint
