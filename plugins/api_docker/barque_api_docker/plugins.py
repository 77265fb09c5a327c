"""`/plugins`: the drivers of the profile, in the shape of Docker's managed plugins.

Docker's managed plugins are images with a driver in them, installed at run time; a driver of ours is a Python package that
the profile names. Both answer "which drivers does this engine have, and are they in use", so `docker plugin ls` shows ours:
enabled, under the name `kind:driver` that `barque plugin ls` has, too. What would install or change one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from barque.spi.errors import Conflict, InvalidArgument, NotFound, NotImplemented
from barque.spi.frontend import EngineInfo
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response

__all__ = ["disable", "enable", "inspect", "install", "plugins", "push", "remove", "set_up"]

_ACCEPTED = frozenset({"capability", "enabled"})
# What Docker calls a driver of each kind; Docker has no word for runtimes.
_TYPES = {
    "storage": "docker.graphdriver/1.0",
    "runtime": "barque.runtime/1.0",
    "network": "docker.networkdriver/1.0",
    "volume": "docker.volumedriver/1.0",
    "log": "docker.logdriver/1.0",
    "authorization": "docker.authz/1.0",
}


def plugins(call: Call) -> Response:
    """`GET /plugins`."""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    enabled = filters.flag("enabled")
    found = _drivers(call.engine.info()) if enabled is not False else ()
    return json_response(
        [_document(kind, name) for kind, name in found if filters.exact("capability", _capability(kind))]
    )


def inspect(call: Call) -> Response:
    """`GET /plugins/{name}/json`."""
    return json_response(_document(*_find(call)))


def enable(call: Call) -> NoReturn:
    """`POST /plugins/{name}/enable`: all of ours are."""
    call.query_number("timeout")
    kind, name = _find(call)
    raise Conflict(f"plugin already enabled: plugin {kind}:{name} is enabled")


def disable(call: Call) -> NoReturn:
    """`POST /plugins/{name}/disable`."""
    kind, name = _find(call)
    raise Conflict(f"plugin {kind}:{name} is in use", hint="a profile decides which drivers are in use")


def remove(call: Call) -> NoReturn:
    """`DELETE /plugins/{name}`."""
    disable(call)


def set_up(call: Call) -> NoReturn:
    """`POST /plugins/{name}/set`."""
    _find(call)
    raise Conflict(
        "cannot set on an active plugin, disable plugin before setting",
        hint="write its options in the profile",
    )


def push(call: Call) -> NoReturn:
    """`POST /plugins/{name}/push`."""
    _find(call)
    install(call)


def install(_: Call) -> NoReturn:
    """`/plugins/pull`, `/create`, `/privileges`, `/{name}/upgrade`: plugins of Docker's kind."""
    raise NotImplemented(
        "Barque does not run Docker's managed plugins: its drivers are Python packages",
        hint="install the package and name its driver in the profile; `barque plugin ls` shows the drivers there are",
    )


def _drivers(engine: EngineInfo) -> Iterator[tuple[str, str]]:
    """Kind and name of each driver in use."""
    yield "storage", engine.storage_driver
    yield from (("runtime", name) for name in sorted(engine.runtimes))
    yield from (("network", name) for name in sorted(engine.networks))
    yield from (("volume", name) for name in sorted(engine.volumes))
    yield from (("log", name) for name in sorted(engine.log_drivers))
    yield from (("authorization", name) for name in engine.authorizations)


def _find(call: Call) -> tuple[str, str]:
    wanted = call.params["name"].removesuffix(":latest")
    for kind, name in _drivers(call.engine.info()):
        id = _id(kind, name)
        if wanted == f"{kind}:{name}" or (len(wanted) >= 12 and id.startswith(wanted)):
            return kind, name
    if not wanted.strip():
        raise InvalidArgument("invalid reference format")
    raise NotFound(f'plugin "{wanted}" not found')


def _id(kind: str, name: str) -> str:
    """Of Docker's form, and the same at every start."""
    from hashlib import sha256  # on first use: the daemon's memory at rest is on a budget

    return sha256(f"{kind}:{name}".encode()).hexdigest()


def _capability(kind: str) -> str:
    """`volumedriver` of `docker.volumedriver/1.0`."""
    return _TYPES[kind].partition(".")[2].partition("/")[0]


def _document(kind: str, name: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Description": f"Driver {name} of kind {kind}, in Barque's process",
        "Documentation": "",
        "Interface": {"Types": [_TYPES[kind]], "Socket": "", "ProtocolScheme": ""},
        "Entrypoint": [],
        "WorkDir": "",
        "User": {},
        "Network": {"Type": "host"},
        "Linux": {"Capabilities": [], "AllowAllDevices": False, "Devices": []},
        "PropagatedMount": "",
        "IpcHost": True,
        "PidHost": True,
        "Mounts": [],
        "Env": [],
        "Args": {"Name": "", "Description": "", "Settable": [], "Value": []},
    }
    return {
        "Id": _id(kind, name),
        "Name": f"{kind}:{name}",
        "Enabled": True,
        "Settings": {"Mounts": [], "Env": [], "Args": [], "Devices": []},
        "PluginReference": "",
        "Config": config,
    }
