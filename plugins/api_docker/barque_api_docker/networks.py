"""Operations on networks."""

from __future__ import annotations

from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound, PermissionDenied
from barque.spi.frontend import EndpointConfig, Network
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.prunes import labelled, until
from barque_api_docker.translate.endpoint import endpoint_config
from barque_api_docker.translate.network import config_source, network_document, network_request

__all__ = ["connect", "create", "disconnect", "inspect", "networks", "prune", "remove"]

_ACCEPTED = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_PRUNE = frozenset({"label", "label!", "until"})


def networks(call: Call) -> Response:
    """`GET /networks`. (Containers are shown by inspect alone, as by dockerd.)"""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    filters.one_of("type", ("builtin", "custom"))
    dangling = filters.flag("dangling")
    found = (one for one in call.engine.network_list() if _wanted(one, filters, dangling))
    return json_response([network_document(one, {}) for one in found])


def _wanted(network: Network, filters: Filters, dangling: bool | None) -> bool:
    spec = network.spec
    return (
        filters.exact("driver", network.driver)
        and filters.prefixes("id", spec.id)
        and filters.labels(spec.labels)
        and filters.matches("name", spec.name)
        and filters.exact("scope", "local")
        and filters.exact("type", "builtin" if network.predefined else "custom")
        and (dangling is None or dangling == (not network.predefined and not network.endpoints))
    )


def inspect(call: Call) -> Response:
    """`GET /networks/{id}`. (`verbose` tells more of a swarm's networks only.)"""
    verbose = call.query("verbose")
    if verbose and verbose.lower() not in ("0", "1", "f", "t", "false", "true"):
        raise InvalidArgument(
            f'invalid value for verbose: strconv.ParseBool: parsing "{verbose}": invalid syntax'
        )
    network = call.engine.network_get(call.params["id"])
    if call.query("scope") not in (None, "", "local"):
        raise NotFound(f"network {call.params['id']} not found")
    names = {}
    for id in network.endpoints:
        try:
            names[id] = call.engine.container_get(id).name
        except NotFound:
            continue  # it was removed in this moment
    return json_response(network_document(network, names))


def create(call: Call) -> Response:
    """`POST /networks/create`."""
    request = network_request(call.engine, call.body())
    try:
        network = call.engine.network_create(request)
    except Conflict as error:
        if "Pool overlaps" in error.message:  # dockerd: 403
            raise PermissionDenied(error.message) from error
        raise
    return json_response({"Id": network.spec.id, "Warning": ""}, 201)


def remove(call: Call) -> Response:
    """`DELETE /networks/{id}`."""
    network = call.engine.network_get(call.params["id"])
    name = network.spec.name
    if network.placeholder and any(config_source(one) == name for one in call.engine.network_list()):
        raise PermissionDenied(f'error while removing network: configuration network "{name}" is in use')
    call.engine.network_remove(network.spec.id)
    return Response(204)


def connect(call: Call) -> Response:
    """`POST /networks/{id}/connect`."""
    body = call.body()
    given = body.raw.get("EndpointConfig") is not None
    config = endpoint_config(body.part("EndpointConfig")) if given else EndpointConfig()
    call.engine.network_connect(call.params["id"], body.text("Container"), config)
    return Response(200)


def disconnect(call: Call) -> Response:
    """`POST /networks/{id}/disconnect`. A container that is not in the network is dockerd's own failure: 500."""
    body = call.body()
    try:
        call.engine.network_disconnect(call.params["id"], body.text("Container"), body.flag("Force"))
    except NotFound as error:
        if "is not connected to" not in error.message:
            raise
        return json_response({"message": error.message}, 500)
    return Response(200)


def prune(call: Call) -> Response:
    """`POST /networks/prune`: users' networks that no container is in."""
    filters = Filters.parse(call.query("filters"), _PRUNE)
    moment = until(filters)
    removed = [
        one.spec.name
        for one in call.engine.network_list()
        if not one.predefined
        and not one.endpoints
        and (moment is None or one.created_ns <= moment)
        and labelled(filters, one.spec.labels)
        and _removed(call, one)
    ]
    call.engine.pruned("network", 0)
    return json_response({"NetworksDeleted": removed or None})


def _removed(call: Call, network: Network) -> bool:
    """False when somebody uses it since it was listed, or removed it."""
    try:
        call.engine.network_remove(network.spec.id)
    except BarqueError:
        return False
    return True
