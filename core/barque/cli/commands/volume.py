"""`barque volume ls`, `inspect` and `rm`."""

from __future__ import annotations

from barque.cli.client import Client
from barque.cli.commands.inspect import show_each
from barque.cli.context import Context
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.transport import segment
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["INSPECT", "LS", "RM", "volume_listing"]

_HEADINGS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Status": "STATUS",
}


def list_volumes(context: Context, values: Values) -> int:
    """List volumes by name."""
    filters = filters_parameter(values.all("filter"))
    rows = context.client.get("/volumes", {"filters": filters}).get("Volumes") or []
    if values.flag("cluster"):
        rows = [row for row in rows if row.get("ClusterVolume")]
    rows.sort(key=lambda row: str(row.get("Name")))
    listing = volume_listing()
    if values.flag("cluster"):
        listing.default = ("Name", "Group", "Driver", "Availability", "Status")
    print_listing(listing, rows, values.text("format"), quiet=values.flag("quiet"))
    return 0


def volume_listing() -> Listing:
    """The columns of volumes. What only `system df` counts is N/A elsewhere."""
    columns = {
        "Name": lambda row: row.get("Name", ""),
        "Driver": lambda row: row.get("Driver", ""),
        "Scope": lambda row: row.get("Scope", ""),
        "Mountpoint": lambda row: row.get("Mountpoint", ""),
        "Labels": lambda row: ",".join(f"{k}={v}" for k, v in sorted((row.get("Labels") or {}).items())),
        "Label": lambda row: lambda key: (row.get("Labels") or {}).get(key, ""),
        "Links": lambda row: _counted(row, "RefCount", str),
        "Size": lambda row: _counted(row, "Size", lambda size: human_size(size, 4)),
        "Availability": lambda row: _cluster(row, "Availability"),
        "Group": lambda row: _cluster(row, "Group"),
        "Status": lambda _row: "N/A",
    }
    return Listing(
        columns=columns, headings=_HEADINGS, default=("Driver", "Name"), quiet="Name", hidden=("Label",)
    )


def _counted(row: Any, key: str, show: Any) -> str:
    usage = row.get("UsageData")
    return str(show(usage[key])) if usage and usage.get(key, -1) >= 0 else "N/A"


def _cluster(row: Any, key: str) -> str:
    spec = (row.get("ClusterVolume") or {}).get("Spec")
    return str(spec.get(key, "")) if spec else "N/A"


def inspect(context: Context, values: Values) -> int:
    """Show volumes in detail."""
    return show_each(
        values.arguments,
        values.text("format"),
        lambda name: context.client.get_raw(f"/volumes/{segment(name)}"),
    )


def remove(context: Context, values: Values) -> int:
    """Remove volumes that no container uses."""
    from barque.cli.many import for_each

    query = {"force": values.flag("force")}

    def action(client: Client, name: str) -> None:
        client.delete(f"/volumes/{segment(name)}", query)

    return 1 if for_each(context, values.arguments, action) else 0


LS = Command(
    summary="List volumes",
    usage="[OPTIONS]",
    run=list_volumes,
    options=(
        flag("cluster", "Display only cluster volumes, and use cluster volume list formatting"),
        filter_option('Provide filter values (e.g. "dangling=true")', "f"),
        text("format", FORMAT_HELP),
        flag("quiet", "Only display volume names", short="q"),
    ),
    examples=("barque volume ls", "barque volume ls -q --filter dangling=true"),
)
INSPECT = Command(
    summary="Display detailed information on one or more volumes",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    run=inspect,
    arguments=(1, None),
    options=(text("format", "Format output: 'json', or a Go template", short="f"),),
    examples=("barque volume inspect -f '{{.Mountpoint}}' data",),
)
RM = Command(
    summary="Remove one or more volumes",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    run=remove,
    arguments=(1, None),
    options=(flag("force", "Force the removal of one or more volumes", short="f"),),
    examples=("barque volume rm data",),
)
