"""Networks as Docker shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.spi.frontend import Network
from barque_api_docker.translate.text import rfc3339

__all__ = ["BUILTIN", "network_document"]

BUILTIN = frozenset({"bridge", "host", "none"})


def network_document(network: Network, names: Mapping[str, str]) -> dict[str, Any]:
    """A network; its endpoints are shown for those containers whose name is in `names` (id to name)."""
    spec = network.spec
    return {
        "Name": spec.name,
        "Id": spec.id,
        "Created": rfc3339(network.created_ns),
        "Scope": "local",
        "Driver": "null" if network.driver == "none" else network.driver,
        "EnableIPv4": True,
        "EnableIPv6": spec.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [_subnet(subnet.cidr, subnet.gateway) for subnet in spec.subnets],
        },
        "Internal": spec.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
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
        "Options": dict(spec.options),
        "Labels": dict(spec.labels),
    }


def _subnet(cidr: str, gateway: str) -> dict[str, str]:
    return {"Subnet": cidr, "Gateway": gateway} if gateway else {"Subnet": cidr}
