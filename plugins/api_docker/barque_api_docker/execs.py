"""Operations on exec sessions."""

from __future__ import annotations

import contextlib
from typing import Any

from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.frontend import ClientStream, Exec, ExecConfig
from barque_api_docker.call import Call, json_response, told
from barque_api_docker.container_streams import frame, stream_type
from barque_api_docker.containers import terminal_size
from barque_api_docker.detach_keys import detach_keys, encoded_keys
from barque_api_docker.fields import Fields
from barque_api_docker.http import Response
from barque_api_docker.translate.console import console_size

__all__ = ["create", "inspect", "resize", "start"]

_NOT_RUNNABLE = (126, 127)
_SIZE_AT_CREATION = (1, 42)


def create(call: Call) -> Response:
    """`POST /containers/{id}/exec`."""
    body = call.body()
    command = body.command("Cmd")
    if not command:
        raise InvalidArgument("No exec command specified")
    config = ExecConfig(
        command=command,
        env=body.texts("Env") or (),
        user=body.text("User"),
        working_dir=body.text("WorkingDir"),
        tty=body.flag("Tty"),
        stdin=body.flag("AttachStdin"),
        stdout=body.flag("AttachStdout"),
        stderr=body.flag("AttachStderr"),
        privileged=body.flag("Privileged"),
        detach_keys=detach_keys(body.text("DetachKeys")),
        console_size=_console_size(body)
        if body.flag("Tty") and call.api_version >= _SIZE_AT_CREATION
        else None,
    )
    return json_response({"Id": call.engine.exec_create(call.params["id"], config)}, 201)


def start(call: Call) -> Response | None:
    """`POST /exec/{id}/start`: hands the connection over, unless `Detach`."""
    body = call.body()
    exec_id = call.params["id"]
    size = _console_size(body)
    if body.flag("Detach"):
        return _start_detached(call, exec_id)
    session = call.engine.exec_get(exec_id)
    stream = call.hijack(stream_type(call, session.config.tty))
    try:
        call.engine.exec_start(exec_id, stream)
    except BarqueError as error:
        if not call.connection.switched and error.exit_code not in _NOT_RUNNABLE:
            raise
        _tell(call, session, stream, error)
        return None
    size = size or session.config.console_size
    if size is not None:
        with contextlib.suppress(BarqueError):  # it may have ended already
            call.engine.exec_resize(exec_id, *size)
    return None


def _start_detached(call: Call, exec_id: str) -> Response:
    try:
        call.engine.exec_start(exec_id, None)
    except BarqueError as error:
        if error.exit_code in _NOT_RUNNABLE:
            raise InvalidArgument(error.message, hint=error.hint, exit_code=error.exit_code) from error
        raise
    return Response(200)


def _tell(call: Call, session: Exec, stream: ClientStream, error: BarqueError) -> None:
    """A program that cannot be executed is output of the session, not an HTTP error: clients then ask for its exit code."""
    if not call.connection.switched:
        stream.accept()
    message = f"{told(error)}\r\n".encode()
    call.connection.send(message if session.config.tty else frame("stdout", message))


def _console_size(body: Fields) -> tuple[int, int] | None:
    size = console_size(body)
    if size is not None and not body.flag("Tty"):
        raise InvalidArgument("console size is only supported with a TTY")
    return size


def inspect(call: Call) -> Response:
    """`GET /exec/{id}/json`."""
    return json_response(_document(call.engine.exec_get(call.params["id"])))


def _document(session: Exec) -> dict[str, Any]:
    config = session.config
    process = {
        "tty": config.tty,
        "entrypoint": config.command[0],
        "arguments": list(config.command[1:]),
        "privileged": config.privileged,
    }
    if config.user:
        process["user"] = config.user
    return {
        "ID": session.id,
        "Running": session.running,
        "ExitCode": session.exit_code,
        "ProcessConfig": process,
        "OpenStdin": config.stdin,
        "OpenStderr": config.stderr,
        "OpenStdout": config.stdout,
        "CanRemove": False,
        "ContainerID": session.container_id,
        "DetachKeys": encoded_keys(config.detach_keys),
        "Pid": session.pid,
    }


def resize(call: Call) -> Response:
    """`POST /exec/{id}/resize`."""
    height, width = terminal_size(call)
    try:
        call.engine.exec_resize(call.params["id"], height, width)
    except Conflict:  # one that ended is no more
        raise NotFound("no such exec") from None
    return Response(200)
