"""Operations on volumes."""

from __future__ import annotations

from typing import Any

from barque.spi.errors import BarqueError, Conflict, NotFound, Unavailable
from barque.spi.frontend import Volume, VolumeRequest
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.prunes import labelled
from barque_api_docker.translate.text import rfc3339

__all__ = ["create", "inspect", "prune", "remove", "usage", "volumes"]

_ANONYMOUS = "com.docker.volume.anonymous"
_LISTED = frozenset({"dangling", "driver", "label", "name"})
_PRUNED = frozenset({"all", "label", "label!"})
_ONLY_ANONYMOUS_SINCE = (1, 42)
_NO_SWARM = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'


def volumes(call: Call) -> Response:
    """`GET /volumes`."""
    filters = Filters.parse(call.query("filters"), _LISTED)
    dangling = filters.flag("dangling")
    found = [one for one in call.engine.volume_list() if _listed(one, filters, dangling)]
    return json_response({"Volumes": [_document(one) for one in found], "Warnings": None})


def _listed(volume: Volume, filters: Filters, dangling: bool | None) -> bool:
    return (
        filters.matches("name", volume.name)
        and filters.exact("driver", volume.driver)
        and filters.labels(_labels(volume))
        and (dangling is None or dangling == (not volume.users))
    )


def inspect(call: Call) -> Response:
    """`GET /volumes/{name}`."""
    return json_response(_document(call.engine.volume_get(call.params["name"])))


def create(call: Call) -> Response:
    """`POST /volumes/create`."""
    body = call.body()
    if body.raw.get("ClusterVolumeSpec") is not None:
        raise Unavailable(_NO_SWARM)
    request = VolumeRequest(
        body.text("Name"), body.text("Driver"), body.table("DriverOpts"), body.table("Labels")
    )
    return json_response(_document(call.engine.volume_create(request)), 201)


def remove(call: Call) -> Response:
    """`DELETE /volumes/{name}`."""
    call.engine.volume_remove(call.params["name"], call.query_flag("force"))
    return Response(204)


def prune(call: Call) -> Response:
    """`POST /volumes/prune`: unused ones; since API 1.42 only those that have no name of their own, unless `all` is asked for."""
    filters = Filters.parse(call.query("filters"), _PRUNED)
    everything = filters.flag("all") or call.api_version < _ONLY_ANONYMOUS_SINCE
    removed, reclaimed = [], 0
    for volume in call.engine.volume_list():
        if volume.users or not (everything or volume.anonymous) or not labelled(filters, _labels(volume)):
            continue
        try:
            size = max(0, call.engine.volume_usage(volume.name))
            call.engine.volume_remove(volume.name, False)
        except (Conflict, NotFound):
            continue  # used, or removed, since it was listed
        removed.append(volume.name)
        reclaimed += size
    call.engine.pruned("volume", reclaimed)
    return json_response({"VolumesDeleted": removed or None, "SpaceReclaimed": reclaimed})


def usage(call: Call) -> list[dict[str, Any]]:
    """The volumes of `GET /system/df`: as dockerd, those without driver options."""
    found = []
    for volume in call.engine.volume_list():
        if volume.options:
            continue
        try:
            size = call.engine.volume_usage(volume.name)
        except BarqueError:
            size = -1  # it went, or its driver cannot tell now
        found.append({**_document(volume), "UsageData": {"RefCount": len(volume.users), "Size": size}})
    return found


def _labels(volume: Volume) -> dict[str, str]:
    """With Docker's mark of an anonymous volume."""
    return {**volume.labels, **({_ANONYMOUS: ""} if volume.anonymous else {})}


def _document(volume: Volume) -> dict[str, Any]:
    return {
        "CreatedAt": rfc3339(volume.created_ns // 1_000_000_000 * 1_000_000_000),
        "Driver": volume.driver,
        "Labels": _labels(volume) or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": volume.scope,
    }
