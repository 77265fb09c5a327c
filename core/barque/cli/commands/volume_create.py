"""`barque volume create` and `update`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, number, repeated, text
from barque.cli.keyvalues import mapping, wrong
from barque.cli.transport import segment
from barque.cli.units import memory

__all__ = ["CREATE", "UPDATE"]

_AVAILABILITY = text(
    "availability", 'Cluster Volume availability ("active", "pause", "drain")', default="active"
)
_CLUSTER = (
    _AVAILABILITY,
    text("group", "Cluster Volume group (cluster volumes)"),
    number("limit-bytes", "Minimum size of the Cluster Volume in bytes", metavar="bytes", check=memory),
    number("required-bytes", "Maximum size of the Cluster Volume in bytes", metavar="bytes", check=memory),
    text("scope", 'Cluster Volume access scope ("single", "multi")', default="single"),
    repeated("secret", "Cluster Volume secrets", metavar="map"),
    text("sharing", 'Cluster Volume access sharing ("none", "readonly", "onewriter", "all")', default="none"),
    repeated("topology-preferred", "A topology that the Cluster Volume would be preferred in"),
    repeated("topology-required", "A topology that the Cluster Volume must be accessible from"),
    text("type", 'Cluster Volume access type ("mount", "block")', default="block"),
)


def create(context: Context, values: Values) -> int:
    """Create a volume and print its name."""
    for option in _CLUSTER:
        if values.given(option.name):
            raise CliError(
                f"--{option.name}: cluster volumes need a swarm, and this engine is not part of one"
            )
    name = values.arguments[0] if values.arguments else ""
    if name and values.text("name"):
        raise CliError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    for value in values.all("label"):
        if not value.partition("=")[0].strip():
            raise wrong("--label", value, f"invalid label '{value}': empty name")
    body = {
        "Name": name or values.text("name"),
        "Driver": values.text("driver"),
        "DriverOpts": mapping(values.all("opt")),
        "Labels": mapping(values.all("label")),
    }
    sys.stdout.write(f"{context.client.post('/volumes/create', (), body)['Name']}\n")
    return 0


def update(context: Context, values: Values) -> int:
    """Change a cluster volume, of which there is none outside a swarm."""
    name = values.arguments[0] if values.arguments else ""
    found = context.client.get(f"/volumes/{segment(name)}")
    cluster = found.get("ClusterVolume")
    if cluster is None:
        raise CliError("Can only update cluster volumes")
    spec = cluster.get("Spec") or {}
    if values.given("availability"):
        spec["Availability"] = values.text("availability")
    version = (cluster.get("Version") or {}).get("Index", 0)
    context.client.put(f"/volumes/{segment(name)}", {"version": str(version)}, {"Spec": spec})
    return 0


CREATE = Command(
    summary="Create a volume",
    usage="[OPTIONS] [VOLUME]",
    run=create,
    arguments=(0, 1),
    options=(
        text("driver", "Specify volume driver name", short="d", default="local"),
        repeated("label", "Set metadata for a volume"),
        repeated("opt", "Set driver specific options", short="o", metavar="map"),
        text("name", "Specify volume name"),
        *_CLUSTER,
    ),
    examples=(
        "barque volume create data",
        "barque volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000 scratch",
        "barque volume create -o type=nfs -o o=addr=10.0.0.5,rw -o device=:/export shared",
    ),
)
UPDATE = Command(
    summary="Update a volume (cluster volumes only)",
    usage="[OPTIONS] [VOLUME]",
    run=update,
    arguments=(0, 1),
    options=(_AVAILABILITY,),
    examples=("barque volume update --availability drain data",),
)
