"""Operations on containers that run: pause, unpause, update, top, stats."""

from __future__ import annotations

import time

from barque.spi.errors import BarqueError, Conflict, NotFound
from barque_api_docker.call import Call, error_response, json_response
from barque_api_docker.http import Response
from barque_api_docker.translate.lifecycle import restart_policy
from barque_api_docker.translate.stats import Reading, absent_document, stats_document
from barque_api_docker.translate.update import updated_resources

__all__ = ["pause", "stats", "top", "unpause", "update"]

_NO_CONTENT = Response(204)
_INTERVAL = 1.0


def pause(call: Call) -> Response:
    """`POST /containers/{id}/pause`."""
    call.engine.container_pause(call.params["id"])
    return _NO_CONTENT


def unpause(call: Call) -> Response:
    """`POST /containers/{id}/unpause`."""
    try:
        call.engine.container_unpause(call.params["id"])
    except Conflict as error:
        response = error_response(error)
        if error.message.endswith("not paused"):  # dockerd's status for it is 500, and pause's is 409
            response.status = 500
        return response
    return _NO_CONTENT


def update(call: Call) -> Response:
    """`POST /containers/{id}/update`: limits and the restart policy; what the body leaves out stays as it is."""
    body = call.body()
    container = call.engine.container_get(call.params["id"])
    policy = restart_policy(body) if body.part("RestartPolicy").text("Name") else None
    try:
        resources = updated_resources(container.config.resources, body)
        changed = resources if resources != container.config.resources else None
        call.engine.container_update(container.id, changed, policy)
    except Conflict as error:
        raise Conflict(f"Cannot update container {container.id}: {error.message}", hint=error.hint) from error
    return json_response({"Warnings": None})


def top(call: Call) -> Response:
    """`GET /containers/{id}/top`."""
    table = call.engine.container_top(call.params["id"], call.query("ps_args") or "-ef")
    return json_response({"Titles": list(table.titles), "Processes": [list(row) for row in table.rows]})


def stats(call: Call) -> Response | None:
    """`GET /containers/{id}/stats`: a document a second, or one; without `one-shot` that one is of two readings."""
    container = call.engine.container_get(call.params["id"])
    reading = _read(call, container.id)
    if call.query("stream") is not None and not call.query_flag("stream"):
        return _once(call, container.id, container.name, reading)
    stream = call.stream("application/json")
    before = None
    while not call.gone():
        document = stats_document(reading, before) if reading else absent_document()
        stream.write_json({**document, "name": f"/{container.name}", "id": container.id})
        time.sleep(_INTERVAL)
        try:
            before, reading = reading, _read(call, container.id)
        except NotFound:  # it was removed: that is the end of the stream, and no error
            stream.close()
            return None
    call.last = True
    return None


def _once(call: Call, id: str, name: str, first: Reading | None) -> Response:
    before, reading = None, first
    if first and not call.query_flag("one-shot"):
        time.sleep(_INTERVAL)
        before, reading = first, _read(call, id)
    document = stats_document(reading, before) if reading else absent_document()
    return json_response({**document, "name": f"/{name}", "id": id})


def _read(call: Call, id: str) -> Reading | None:
    """None when it does not run: docker shows nothing used."""
    try:
        return Reading.of(call.engine.container_stats(id))
    except Conflict:
        return None
    except BarqueError:
        if call.engine.container_get(id).state.status in ("running", "paused"):
            raise
        return None
