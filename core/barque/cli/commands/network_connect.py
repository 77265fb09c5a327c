"""`barque network connect` and `disconnect`."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.csvfields import csv_fields
from barque.cli.endpoints import endpoint_settings
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, number, repeated, text
from barque.cli.keyvalues import link
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CONNECT", "DISCONNECT"]


def connect(context: Context, values: Values) -> int:
    """Connect a container to a network."""
    network, container = values.arguments
    settings = endpoint_settings(_said(values))
    body = {"Container": container, "EndpointConfig": settings}
    context.client.post(f"/networks/{segment(network)}/connect", (), body)
    return 0


def _said(values: Values) -> dict[str, Any]:
    said: dict[str, Any] = {
        "Aliases": _several(values, "alias"),
        "Links": [link(value) for value in values.all("link")],
        "LinkLocalIPs": _several(values, "link-local-ip"),
        "IPv4Address": values.text("ip"),
        "IPv6Address": values.text("ip6"),
        "GwPriority": values.number("gw-priority"),
        "DriverOpts": {},
    }
    for value in _several(values, "driver-opt"):
        key, equals, content = value.partition("=")
        if not equals or not key:
            raise CliError("invalid key/value pair format in driver options")
        said["DriverOpts"][key.strip()] = content.strip()
    return said


def _several(values: Values, name: str) -> list[str]:
    """A flag of which one value may hold several, with commas."""
    return [field for value in values.all(name) for field in csv_fields(value)]


def disconnect(context: Context, values: Values) -> int:
    """Take a container off a network."""
    network, container = values.arguments
    body = {"Container": container, "Force": values.flag("force")}
    context.client.post(f"/networks/{segment(network)}/disconnect", (), body)
    return 0


CONNECT = Command(
    summary="Connect a container to a network",
    usage="[OPTIONS] NETWORK CONTAINER",
    run=connect,
    arguments=(2, 2),
    options=(
        repeated("alias", "Add network-scoped alias for the container", metavar="strings"),
        repeated("driver-opt", "Driver options for the network", metavar="strings"),
        number(
            "gw-priority",
            "Highest gw-priority provides the default gateway. Accepts positive and negative values",
        ),
        text("ip", 'IPv4 address (e.g., "172.30.100.104")'),
        text("ip6", 'IPv6 address (e.g., "2001:db8::33")'),
        repeated("link", "Add link to another container"),
        repeated("link-local-ip", "Add a link-local address for the container", metavar="strings"),
    ),
    examples=(
        "barque network connect back web",
        "barque network connect --alias db --ip 10.5.0.7 back postgres",
    ),
)
DISCONNECT = Command(
    summary="Disconnect a container from a network",
    usage="[OPTIONS] NETWORK CONTAINER",
    run=disconnect,
    arguments=(2, 2),
    options=(flag("force", "Force the container to disconnect from a network", short="f"),),
    examples=("barque network disconnect back web",),
)
