"""What a daemon can ask of a shim: one method an operation of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from barque.shim.packets import read_payload
from barque.shim.protocol import VERSION, ClientAttach
from barque.shim.server import Connection
from barque.spi import errors
from barque.spi.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from barque.shim.service import Service

__all__ = ["Operations"]

_MAX_SIGNAL = 64
_MAX_SIDE = 65535


class Operations:
    """Reads requests, checks them, and lets the shim do them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._table = {
            "hello": self._hello,
            "events": self._events,
            "attach": self._attach,
            "attach-held": self._attach_held,
            "attach-go": self._attach_go,
            "exec": self._exec,
            "exec-state": self._exec_state,
            "resize": self._resize,
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
            "update": self._update,
            "stats": self._stats,
            "processes": self._processes,
            "resolver": self._resolver,
            "release": self._release,
        }

    def dispatch(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        """Answer `request`; `fds` keeps those descriptors that nobody took."""
        operation = self._table.get(str(request.get("op")))
        if operation is None:
            raise errors.NotImplemented(f"this shim does not know the operation {request.get('op')!r}")
        return {"ok": True, **operation(connection, request, fds)}

    def _hello(self, _connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        return {"version": VERSION, **self._service.describe()}

    def _events(self, connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        connection.wants_events = True
        self._service.repeat_exit(connection)  # after the reply
        return {}

    def _attach(self, _connection: Connection, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if len(fds) != 1:
            raise InvalidArgument("attach takes one descriptor, the client's")
        self._service.attach(_attachment(request), fds[0])
        fds.clear()
        return {}

    def _attach_held(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if len(fds) != 1:
            raise InvalidArgument("attach-held takes one descriptor, the client's")
        time_ns, go = self._service.attach_held(_attachment(request), fds[0])
        fds.clear()
        connection.at_close.append(go)
        return {"time_ns": time_ns}

    def _attach_go(self, connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        connection.let_go()
        return {}

    def _exec(self, _connection: Connection, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        names = request.get("fds", ["payload"] if len(fds) == 1 else ["client", "payload"])
        if not isinstance(names, list) or len(names) != len(fds) or "payload" not in names:
            raise InvalidArgument("exec takes the descriptors [client] and payload")
        process = read_payload(fds[names.index("payload")])
        client = fds[names.index("client")] if "client" in names else None
        attach = _attachment(request) if client is not None else None
        pid = self._service.exec(_text(request, "exec"), process, attach, client)
        if client is not None:
            fds.remove(client)
        return {"pid": pid}

    def _exec_state(
        self, _connection: Connection, request: dict[str, Any], _fds: list[int]
    ) -> dict[str, Any]:
        return self._service.execs.state(_text(request, "exec"))

    def _resize(self, _connection: Connection, request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        height, width = _number(request, "height", _MAX_SIDE), _number(request, "width", _MAX_SIDE)
        self._service.resize(height, width, _text(request, "exec") if request.get("exec") else None)
        return {}

    def _kill(self, _connection: Connection, request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        self._service.kill(_number(request, "signal", _MAX_SIGNAL), bool(request.get("all")))
        return {}

    def _pause(self, _connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        self._service.pause()
        return {}

    def _resume(self, _connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        self._service.resume()
        return {}

    def _update(self, _connection: Connection, request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        resources = request.get("resources")
        if not isinstance(resources, dict):
            raise InvalidArgument("resources must be an object")
        self._service.runtime().update(resources)
        return {}

    def _stats(self, _connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        return {"stats": self._service.runtime().stats()}

    def _processes(
        self, _connection: Connection, _request: dict[str, Any], _fds: list[int]
    ) -> dict[str, Any]:
        return {"pids": self._service.runtime().processes()}

    def _resolver(self, _connection: Connection, _request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if len(fds) != 1:
            raise InvalidArgument("resolver takes one descriptor, the network namespace's")
        self._service.resolve(fds[0])
        return {}

    def _release(self, _connection: Connection, _request: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        if not self._service.has_ended:
            raise Conflict("the container runs; a shim is released after its exit")
        self._service.release()
        return {}


def _attachment(request: Mapping[str, Any]) -> ClientAttach:
    return ClientAttach(
        stdin=bool(request.get("stdin")),
        stdout=bool(request.get("stdout")),
        stderr=bool(request.get("stderr")),
        detach_keys=_text(request, "detach_keys") if request.get("detach_keys") else "",
        preread=_text(request, "preread") if request.get("preread") else "",
    )


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise InvalidArgument(f"{key} must be a string")
    return value


def _number(request: Mapping[str, Any], key: str, highest: int) -> int:
    value = request.get(key)
    if not isinstance(value, int) or not 0 <= value <= highest:
        raise InvalidArgument(f"{key} must be a number from 0 to {highest}")
    return value
