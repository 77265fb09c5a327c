"""Operations on containers that answer at once."""

from __future__ import annotations

import re

from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.frontend import Container
from barque_api_docker.call import Call, error_response, json_response
from barque_api_docker.container_list import ImageNames
from barque_api_docker.http import Response
from barque_api_docker.network_ids import network_ids
from barque_api_docker.sizes import written_bytes
from barque_api_docker.translate.create import container_config
from barque_api_docker.translate.inspect import inspect_document
from barque_api_docker.translate.names import check_repository, split_name
from barque_api_docker.translate.text import platform

__all__ = [
    "create",
    "inspect",
    "kill",
    "remove",
    "rename",
    "resize",
    "restart",
    "start",
    "stop",
    "terminal_size",
]

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_NO_CONTENT = Response(204)
_NOT_MODIFIED = Response(304)
_NOT_RUNNABLE = (126, 127)


def create(call: Call) -> Response:
    """`POST /containers/create`."""
    name = call.query("name") or None
    if name is not None and not _NAME.fullmatch(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    body = call.body()
    if not body.raw:
        raise InvalidArgument("config cannot be empty in order to create a container")
    config = container_config(body, platform(call.query("platform") or ""), call.api_version)
    _check_joined(call, config.pid_mode, config.ipc_mode)
    try:
        container = call.engine.container_create(name.lstrip("/") if name else None, config)
    except NotFound:
        check_repository(
            split_name(config.image)[0]
        )  # a name that no image can have is a mistake of another kind
        raise
    return json_response({"Id": container.id, "Warnings": list(container.warnings)}, 201)


def _check_joined(call: Call, *modes: str) -> None:
    """A container whose namespaces are to be joined must be there. As for dockerd, the request is wrong when it is not: 400."""
    for mode in modes:
        if mode.startswith("container:") and mode != "container:":
            try:
                call.engine.container_get(mode.removeprefix("container:"))
            except NotFound as error:
                raise InvalidArgument(error.message, hint=error.hint) from None


def inspect(call: Call) -> Response:
    """`GET /containers/{id}/json`."""
    container = call.engine.container_get(call.params["id"])
    document = inspect_document(container, network_ids(call.engine, (container,)), call.api_version)
    if call.query_flag("size"):
        document |= _sizes(call, container)
    return json_response(document)


def _sizes(call: Call, container: Container) -> dict[str, int]:
    """What it has written, and that with its image's size; an image that is gone has none."""
    written = written_bytes(call.engine).get(container.id, 0)
    return {"SizeRw": written, "SizeRootFs": written + ImageNames(call.engine).size(container.image_id)}


def start(call: Call) -> Response:
    """`POST /containers/{id}/start`. A program that cannot be executed is the request's fault: 400, as dockerd."""
    if call.body().raw:
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    try:
        return _NO_CONTENT if call.engine.container_start(call.params["id"]) else _NOT_MODIFIED
    except BarqueError as error:
        response = error_response(error)
        if error.exit_code in _NOT_RUNNABLE:
            response.status = 400
        elif error.message.startswith(
            "unable to find "
        ):  # a user or a group: it is not the container that is not found
            response.status = 500
        return response


def stop(call: Call) -> Response:
    """`POST /containers/{id}/stop`."""
    signal, timeout = call.query("signal") or None, call.query_number("t")
    return _NO_CONTENT if call.engine.container_stop(call.params["id"], signal, timeout) else _NOT_MODIFIED


def restart(call: Call) -> Response:
    """`POST /containers/{id}/restart`."""
    call.engine.container_restart(call.params["id"], call.query("signal") or None, call.query_number("t"))
    return _NO_CONTENT


def rename(call: Call) -> Response:
    """`POST /containers/{id}/rename`."""
    call.engine.container_rename(call.params["id"], call.query("name") or "")
    return _NO_CONTENT


def kill(call: Call) -> Response:
    """`POST /containers/{id}/kill`."""
    try:
        call.engine.container_kill(call.params["id"], call.query("signal") or "SIGKILL")
    except (Conflict, NotFound) as error:
        raise type(error)(
            f"cannot kill container: {call.params['id']}: {error.message}", hint=error.hint
        ) from error
    return _NO_CONTENT


def remove(call: Call) -> Response:
    """`DELETE /containers/{id}`, or of a link (`/web/db`)."""
    flags = (call.query_flag(name) for name in ("force", "v", "link"))
    call.engine.container_remove(call.params["id"], *flags)
    return _NO_CONTENT


def resize(call: Call) -> Response:
    """`POST /containers/{id}/resize`."""
    height, width = terminal_size(call)
    call.engine.container_resize(call.params["id"], height, width)
    return Response(200)


def terminal_size(call: Call) -> tuple[int, int]:
    """The parameters `h` and `w`. Errors: InvalidArgument."""
    height, width = call.query_number("h") or 0, call.query_number("w") or 0
    if not (0 <= height < 65536 and 0 <= width < 65536):
        raise InvalidArgument("a terminal's height and width are between 0 and 65535")
    return height, width
