"""The body of a create request, from the flags of `run` and `create`."""

from __future__ import annotations

from collections.abc import Mapping

from barque.cli.errors import UsageError
from barque.cli.flags import Values
from barque.cli.host_config import host_config

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
    host = host_config(values)
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
    if any(values.given(name) for name in _HEALTH_FLAGS):
        from barque.cli.healthchecks import healthcheck

        if (check := healthcheck(values)) is not None:
            body["Healthcheck"] = check
    return body


_HEALTH_FLAGS = (
    "health-cmd", "health-interval", "health-retries", "health-start-interval", "health-start-period", "health-timeout",
    "no-healthcheck",
)  # fmt: skip


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


def _network(values: Values, body: dict[str, Any], host: dict[str, Any]) -> None:
    if values.given("publish") or values.given("expose"):
        from barque.cli.ports import published

        exposed, bindings = published(values.all("publish"), values.all("expose"))
        body["ExposedPorts"] = {port: {} for port in exposed}
        host["PortBindings"] = bindings
    if values.given("add-host"):
        from barque.cli.keyvalues import extra_host

        host["ExtraHosts"] = [extra_host(value) for value in values.all("add-host")]
    if any(values.given(name) for name in _NETWORK_FLAGS):
        from barque.cli.endpoints import networks

        host["NetworkMode"], endpoints = networks(values)
        endpoints = {name: endpoint for name, endpoint in endpoints.items() if endpoint or len(endpoints) > 1}
        if endpoints:
            body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    else:
        host["NetworkMode"] = "default"


_NETWORK_FLAGS = ("network", "network-alias", "link", "ip", "ip6", "mac-address", "link-local-ip")
