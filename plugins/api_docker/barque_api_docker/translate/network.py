"""Networks: the body of a create request to the engine's, and back as Docker shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from barque.spi.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from barque.spi.frontend import Engine, Network, NetworkRequest
from barque.spi.network import Subnet
from barque_api_docker.fields import Fields
from barque_api_docker.translate.text import rfc3339

__all__ = ["BUILTIN", "config_source", "network_document", "network_request"]

BUILTIN = frozenset({"bridge", "host", "none"})
_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)
_FAMILY_OPTIONS = {
    "EnableIPv4": "com.docker.network.enable_ipv4",
    "EnableIPv6": "com.docker.network.enable_ipv6",
}
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_OWN_OPTIONS = "barque."  # what drivers note for themselves


def network_request(engine: Engine, body: Fields) -> NetworkRequest:
    """The body of `POST /networks/create`. Errors: InvalidArgument, PermissionDenied, NotFound, Unavailable (of a swarm)."""
    _check_swarm(body)
    ipam = body.part("IPAM")
    if ipam.text("Driver") not in ("", "default"):
        raise InvalidArgument(f'invalid ipam driver: "{ipam.text("Driver")}": the only one is "default"')
    options = _options(body)
    request = NetworkRequest(
        name=body.text("Name"),
        driver=body.text("Driver"),
        subnets=tuple(_read_subnet(one) for one in ipam.parts("Config")),
        internal=body.flag("Internal"),
        ipv4=_family(body, "EnableIPv4", options, True),
        ipv6=_family(body, "EnableIPv6", options, False),
        options=options,
        labels=body.table("Labels"),
        placeholder=body.flag("ConfigOnly"),
        document=_document(body, ipam),
    )
    source = body.part("ConfigFrom").text("Network")
    if request.placeholder:
        _check_placeholder(body, source)
    return _configured(engine, request, ipam, source) if source else request


def _options(body: Fields) -> dict[str, str]:
    options = body.table("Options")
    for name in options:
        if name.startswith(_OWN_OPTIONS):
            raise InvalidArgument(f"invalid option {name!r}: drivers keep those of this name for themselves")
    return options


def _check_swarm(body: Fields) -> None:
    if body.text("Driver") == "overlay":
        raise PermissionDenied(_NO_SWARM)
    if body.text("Scope") == "swarm":
        raise Unavailable(_NO_SWARM)
    if body.text("Scope") not in ("", "local", "global"):
        raise InvalidArgument(f"invalid scope: {body.text('Scope')}")
    if body.flag("Ingress"):
        raise PermissionDenied("Ingress network can only be global scope network")


def _check_placeholder(body: Fields, source: str) -> None:
    if source:
        raise PermissionDenied("a configuration network cannot depend on another configuration network")
    if body.flag("Internal") or body.flag("Attachable") or body.text("Scope"):
        raise PermissionDenied(
            "configuration network can only contain network specific fields. "
            "Network operator fields like [ ingress | internal | attachable | scope ] are not supported."
        )


def _configured(engine: Engine, request: NetworkRequest, ipam: Fields, source: str) -> NetworkRequest:
    """A network that takes its settings from a configuration network."""
    if request.ipv6 or request.labels or request.options or request.subnets or ipam.mapping("Options"):
        raise PermissionDenied(
            "user specified configurations are not supported if the network depends on a configuration network"
        )
    found = next((n for n in engine.network_list() if n.placeholder and n.spec.name == source), None)
    if found is None:
        raise NotFound(f'configuration network "{source}" does not exist')
    spec = found.spec
    return replace(
        request,
        subnets=spec.subnets,
        ipv4=spec.ipv4,
        ipv6=spec.ipv6,
        options=dict(spec.options),
        labels=dict(spec.labels),
        document={**request.document, "ConfigFrom": source},
    )


def config_source(network: Network) -> str:
    """The name of the configuration network that a network took its settings from; "" for none."""
    return str(network.document.get("ConfigFrom", ""))


def _family(body: Fields, name: str, options: dict[str, str], default: bool) -> bool:
    """A family is on by its field, else by the driver's option of Docker's."""
    option = _FAMILY_OPTIONS[name]
    if body.raw.get(name) is not None:
        options.pop(option, None)
        return body.flag(name)
    value = options.get(option)
    if value is None:
        return default
    if value not in _TRUE + _FALSE:
        raise InvalidArgument(f'driver-opt "{option}" is not a valid bool')
    return value in _TRUE


def _read_subnet(fields: Fields) -> Subnet:
    auxiliary = fields.table("AuxiliaryAddresses") or fields.table("AuxAddress")
    return Subnet(fields.text("Subnet"), fields.text("Gateway"), fields.text("IPRange"), auxiliary)


def _document(body: Fields, ipam: Fields) -> Mapping[str, Any]:
    """What only a Docker client wants to see again."""
    document: dict[str, Any] = {"Attachable": True} if body.flag("Attachable") else {}
    if ipam.raw.get("Options") is not None:
        document["IPAMOptions"] = ipam.table("Options")
    return document


def network_document(network: Network, names: Mapping[str, str]) -> dict[str, Any]:
    """A network; its endpoints are shown for those containers whose name is in `names` (id to name)."""
    spec = network.spec
    return {
        "Name": spec.name,
        "Id": spec.id,
        "Created": rfc3339(network.created_ns),
        "Scope": "local",
        "Driver": "null" if network.driver == "none" else network.driver,
        "EnableIPv4": spec.ipv4,
        "EnableIPv6": spec.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": network.document.get("IPAMOptions"),
            "Config": [_subnet(subnet) for subnet in spec.subnets],
        },
        "Internal": spec.internal,
        "Attachable": bool(network.document.get("Attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": config_source(network)},
        "ConfigOnly": network.placeholder,
        "Containers": {
            container: {
                "Name": names[container],
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.ipv4,
                "IPv6Address": endpoint.ipv6,
            }
            for container, endpoint in network.endpoints.items()
            if container in names
        },
        "Options": {name: value for name, value in spec.options.items() if not name.startswith(_OWN_OPTIONS)},
        "Labels": dict(spec.labels),
    }


def _subnet(subnet: Subnet) -> dict[str, Any]:
    document: dict[str, Any] = {"Subnet": subnet.cidr}
    if subnet.ip_range:
        document["IPRange"] = subnet.ip_range
    if subnet.gateway:
        document["Gateway"] = subnet.gateway
    if subnet.auxiliary:
        document["AuxiliaryAddresses"] = dict(subnet.auxiliary)
    return document
