"""What is asked of swarms. This engine runs one host's containers: it answers as dockerd does while it is in no swarm."""

from __future__ import annotations

import re
from typing import NoReturn

from barque.spi.errors import InvalidArgument, NotImplemented, Unavailable
from barque_api_docker.call import Call, Handler, json_response
from barque_api_docker.http import Response

__all__ = ["SWARM_ROUTES"]

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_UINT64 = re.compile(r"[0-9]{1,20}")


def _manage(_: Call) -> NoReturn:
    """An operation of a swarm's manager without a body."""
    raise Unavailable(_NO_MANAGER)


def _create(call: Call) -> NoReturn:
    """One with a body, which is read first: dockerd tells what is wrong with it before it looks for a swarm."""
    call.body()
    _manage(call)


def _logs(call: Call) -> Response:
    """`GET /services/{id}/logs`, `GET /tasks/{id}/logs`. dockerd's status for no stream is 500 here, not 400 as for containers."""
    if not (call.query_flag("stdout") or call.query_flag("stderr")):
        return json_response({"message": "Bad parameters: you must choose at least one stream"}, 500)
    _manage(call)


def _update(kind: str, *, reason: bool) -> Handler:
    """An update of a `kind`, which names the version it replaces. `reason`: whether dockerd says what is wrong with that."""

    def update(call: Call) -> NoReturn:
        call.body()
        version = call.query("version") or ""
        if not (_UINT64.fullmatch(version) and int(version) < 1 << 64):
            why = f" '{version}': strconv.ParseUint: parsing \"{version}\": invalid syntax" if reason else ""
            raise InvalidArgument(f"invalid {kind} version{why}")
        _manage(call)

    return update


def _leave(_: Call) -> NoReturn:
    """`POST /swarm/leave`."""
    raise Unavailable("This node is not part of a swarm")


def _begin(_: Call) -> NoReturn:
    """`POST /swarm/init`, `POST /swarm/join`."""
    raise NotImplemented(
        "Barque has no swarm mode: it runs the containers of one host",
        hint="use docker-compose for an application on one host",
    )


def _update_volume(call: Call) -> NoReturn:
    """`PUT /volumes/{name}`: only cluster volumes can be updated, and those live in a swarm."""
    call.body()
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


def _objects(kind: str, create: bool = True, *, reason: bool = True) -> tuple[tuple[str, str, Handler], ...]:
    """The routes of services, nodes, secrets and configs: all alike."""
    first = (("POST", f"/{kind}s/create", _create),) if create else ()
    return (
        *first,
        ("GET", f"/{kind}s", _manage),
        ("GET", f"/{kind}s/{{id}}", _manage),
        ("DELETE", f"/{kind}s/{{id}}", _manage),
        ("POST", f"/{kind}s/{{id}}/update", _update(kind, reason=reason)),
    )


SWARM_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/swarm", _manage),
    ("POST", "/swarm/init", _begin),
    ("POST", "/swarm/join", _begin),
    ("POST", "/swarm/leave", _leave),
    ("POST", "/swarm/update", _update("swarm", reason=True)),
    ("GET", "/swarm/unlockkey", _manage),
    ("POST", "/swarm/unlock", _create),
    *_objects("node", create=False),
    *_objects("service"),
    ("GET", "/services/{id}/logs", _logs),
    ("GET", "/tasks", _manage),
    ("GET", "/tasks/{id}", _manage),
    ("GET", "/tasks/{id}/logs", _logs),
    *_objects("secret", reason=False),
    *_objects("config", reason=False),
    ("PUT", "/volumes/{name}", _update_volume),
)
