"""`barque network create`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.csvfields import csv_fields
from barque.cli.flags import Command, Values, flag, repeated, text
from barque.cli.keyvalues import mapping, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CREATE"]


def create(context: Context, values: Values) -> int:
    """Create a network and print its id."""
    answer = context.client.post("/networks/create", (), _body(values))
    sys.stdout.write(f"{answer['Id']}\n")
    return 0


def _body(values: Values) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Name": values.arguments[0],
        "Driver": values.text("driver"),
        "Options": _pairs(values, "opt"),
        "IPAM": {"Driver": values.text("ipam-driver"), "Options": _pairs(values, "ipam-opt"), "Config": _ranges(values)},
        "Internal": values.flag("internal"),
        "Ingress": values.flag("ingress"),
        "Attachable": values.flag("attachable"),
        "Labels": _labels(values),
        "Scope": values.text("scope"),
        "ConfigOnly": values.flag("config-only"),
    }  # fmt: skip
    # Docker's daemon has defaults of its own where nothing is said.
    for key, name in (("EnableIPv4", "ipv4"), ("EnableIPv6", "ipv6")):
        if values.given(name):
            body[key] = values.flag(name)
    if values.text("config-from"):
        body["ConfigFrom"] = {"Network": values.text("config-from")}
    return body


def _ranges(values: Values) -> list[dict[str, Any]]:
    names = ("subnet", "ip-range", "gateway", "aux-address")
    if not any(values.given(name) for name in names):
        return []
    from barque.cli.ipam import ipam_config

    subnets, ranges, gateways = (_several(values, name) for name in names[:3])
    return ipam_config(subnets, ranges, gateways, _pairs(values, "aux-address"))


def _several(values: Values, name: str) -> list[str]:
    """A flag of which one value may hold several, with commas."""
    return [field for value in values.all(name) for field in csv_fields(value)]


def _pairs(values: Values, name: str) -> dict[str, str]:
    return mapping(values.all(name))


def _labels(values: Values) -> dict[str, str]:
    for value in values.all("label"):
        if not value.partition("=")[0].strip():
            raise wrong("--label", value, f"invalid label '{value}': empty name")
    return mapping(values.all("label"))


CREATE = Command(
    summary="Create a network",
    usage="[OPTIONS] NETWORK",
    run=create,
    arguments=(1, 1),
    options=(
        flag("attachable", "Enable manual container attachment"),
        repeated("aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver", metavar="map"),
        text("config-from", "The network from which to copy the configuration"),
        flag("config-only", "Create a configuration only network"),
        text("driver", "Driver to manage the Network", short="d", default="bridge"),
        repeated("gateway", "IPv4 or IPv6 Gateway for the master subnet", metavar="strings"),
        flag("ingress", "Create swarm routing-mesh network"),
        flag("internal", "Restrict external access to the network"),
        repeated("ip-range", "Allocate container ip from a sub-range", metavar="strings"),
        text("ipam-driver", "IP Address Management Driver", default="default"),
        repeated("ipam-opt", "Set IPAM driver specific options", metavar="map"),
        flag("ipv4", "Enable or disable IPv4 address assignment", default=True),
        flag("ipv6", "Enable or disable IPv6 address assignment"),
        repeated("label", "Set metadata on a network"),
        repeated("opt", "Set driver specific options", short="o", metavar="map"),
        text("scope", "Control the network's scope"),
        repeated("subnet", "Subnet in CIDR format that represents a network segment", metavar="strings"),
    ),
    examples=(
        "barque network create back",
        "barque network create --subnet 10.5.0.0/16 --gateway 10.5.0.1 --ip-range 10.5.128.0/17 front",
        "barque network create --ipv6 --subnet fd00:5::/64 --internal -o com.docker.network.bridge.enable_icc=false quiet",
        "barque network create -d macvlan --subnet 192.168.1.0/24 --gateway 192.168.1.1 -o parent=eth0 lan",
    ),
)
