"""What clients ask of volumes and plugins while there are none: `docker inspect NAME` tries each kind of object in turn."""

from __future__ import annotations

from barque.spi.errors import NotFound
from barque_api_docker.call import Call
from barque_api_docker.http import Response

__all__ = ["inspect_plugin", "inspect_volume"]


def inspect_volume(call: Call) -> Response:
    """`GET /volumes/{name}`."""
    raise NotFound(f"get {call.params['name']}: no such volume")


def inspect_plugin(call: Call) -> Response:
    """`GET /plugins/{name}/json`."""
    raise NotFound(f'plugin "{call.params["name"]}" not found')
