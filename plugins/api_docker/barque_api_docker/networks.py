"""Operations on networks."""

from __future__ import annotations

from barque.spi.frontend import Network
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.translate.network import BUILTIN, network_document

__all__ = ["inspect", "networks"]

_ACCEPTED = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def networks(call: Call) -> Response:
    """`GET /networks`. (Containers are shown by inspect alone, as by dockerd.)"""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    filters.one_of("type", ("builtin", "custom"))
    dangling = filters.flag("dangling")
    found = (one for one in call.engine.network_list() if _wanted(one, filters, dangling))
    return json_response([network_document(one, {}) for one in found])


def _wanted(network: Network, filters: Filters, dangling: bool | None) -> bool:
    spec = network.spec
    builtin = spec.name in BUILTIN
    return (
        filters.exact("driver", network.driver)
        and filters.prefixes("id", spec.id)
        and filters.labels(spec.labels)
        and filters.matches("name", spec.name)
        and filters.exact("scope", "local")
        and filters.exact("type", "builtin" if builtin else "custom")
        and (dangling is None or dangling == (not builtin and not network.endpoints))
    )


def inspect(call: Call) -> Response:
    """`GET /networks/{id}`."""
    network = call.engine.network_get(call.params["id"])
    names = {one.id: one.name for one in call.engine.container_list() if one.id in network.endpoints}
    return json_response(network_document(network, names))
