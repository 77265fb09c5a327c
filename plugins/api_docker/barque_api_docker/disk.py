"""The engine's disk: `GET /system/df` as Docker, and Barque's own `GET /barque/df` and `POST /barque/check`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from barque.spi.content import DiskItem, DiskUsage, Finding
from barque.spi.errors import BarqueError, InvalidArgument
from barque_api_docker import volumes
from barque_api_docker.call import Call, json_response
from barque_api_docker.container_list import ImageNames, with_sizes
from barque_api_docker.http import Response
from barque_api_docker.images import summaries
from barque_api_docker.network_ids import network_ids
from barque_api_docker.progress import Report
from barque_api_docker.sizes import shared_bytes, written_bytes
from barque_api_docker.translate.summary import summary_document

__all__ = ["check", "items", "usage"]

_TYPES = ("container", "image", "volume", "build-cache")
_BUILDER_SIZE_UNTIL = (1, 42)


def usage(call: Call) -> Response:
    """`GET /system/df`. `type`, which may be repeated, leaves out the rest."""
    wanted = set(call.query_all("type")) or set(_TYPES)
    for kind in wanted:
        if kind not in _TYPES:
            raise InvalidArgument(f"unknown object type: {kind}")
    found = call.engine.disk_usage() if wanted & {"container", "image"} else DiskUsage((), 0, 0)
    document: dict[str, Any] = {
        "LayersSize": found.layers_bytes if "image" in wanted else 0,
        "Images": _images(call) if "image" in wanted else None,
        "Containers": _containers(call, found) if "container" in wanted else None,
        "Volumes": volumes.usage(call) if "volume" in wanted else None,
        "BuildCache": [] if "build-cache" in wanted else None,
    }
    if call.api_version < _BUILDER_SIZE_UNTIL:
        document["BuilderSize"] = 0
    return json_response(document)


def _images(call: Call) -> list[dict[str, Any]]:
    images = call.engine.image_list()
    return summaries(call, images, shared_bytes(images))


def _containers(call: Call, found: DiskUsage) -> list[dict[str, Any]]:
    names, written = ImageNames(call.engine), written_bytes(call.engine, found)
    containers = call.engine.container_list()
    ids = network_ids(call.engine, containers)
    return [with_sizes(summary_document(one, names.of(one), ids), written, names) for one in containers]


def items(call: Call) -> Response:
    """`GET /barque/df`: every byte below the data root with its owner; the items' sum is `Total`, what du(1) counts."""
    found = call.engine.disk_usage()
    return json_response(
        {
            "Root": call.engine.info().root,
            "Total": found.total,
            "LayersSize": found.layers_bytes,
            "Items": [_spelled(item) for item in found.items],
        }
    )


def check(call: Call) -> Response | None:
    """`POST /barque/check`: progress lines, then one line with the findings. `repair`: put right what can be."""
    report = Report(call)
    try:
        findings = call.engine.content_check(repair=call.query_flag("repair"), progress=report.progress)
    except BarqueError as error:
        if not report.started:
            raise
        report.fail(error)
    else:
        report.line({"aux": {"Findings": [_spelled(finding) for finding in findings]}})
    report.close()
    return None


def _spelled(value: DiskItem | Finding) -> dict[str, Any]:
    """The value's fields as Docker would spell them."""
    return {name.capitalize(): content for name, content in asdict(value).items()}
