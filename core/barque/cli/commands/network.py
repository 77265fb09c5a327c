"""`barque network ls`, `inspect` and `rm`."""

from __future__ import annotations

import sys

from barque.cli.commands.inspect import show_each
from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["INSPECT", "LS", "RM"]

_NOT_FOUND = 404

_HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def list_networks(context: Context, values: Values) -> int:
    """List networks by name."""
    found = context.client.get("/networks", {"filters": filters_parameter(values.all("filter"))})
    rows = sorted(found, key=lambda row: str(row.get("Name")))
    print_listing(_listing(values.flag("no-trunc")), rows, values.text("format"), quiet=values.flag("quiet"))
    return 0


def _listing(long: bool) -> Listing:
    columns = {
        "ID": lambda row: row["Id"] if long else row["Id"][:12],
        "Name": lambda row: row.get("Name", ""),
        "Driver": lambda row: row.get("Driver", ""),
        "Scope": lambda row: row.get("Scope", ""),
        "IPv4": lambda row: _boolean(row.get("EnableIPv4")),
        "IPv6": lambda row: _boolean(row.get("EnableIPv6")),
        "Internal": lambda row: _boolean(row.get("Internal")),
        "Labels": lambda row: ",".join(f"{k}={v}" for k, v in sorted((row.get("Labels") or {}).items())),
        "Label": lambda row: lambda key: (row.get("Labels") or {}).get(key, ""),
        "CreatedAt": _created,
    }
    return Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("ID", "Name", "Driver", "Scope"),
        quiet="ID",
        hidden=("Label",),
    )


def _boolean(value: object) -> str:
    return "true" if value else "false"


def _created(row: Any) -> str:
    from barque.cli.times import go_time, parse_rfc3339

    created = str(row.get("Created") or "")
    if not created:
        return ""
    zone = created[-6:] if created[-6] in "+-" else ""
    return go_time(parse_rfc3339(created), zone)


def inspect(context: Context, values: Values) -> int:
    """Show networks in detail."""
    query = {"verbose": values.flag("verbose")}
    return show_each(
        values.arguments,
        values.text("format"),
        lambda name: context.client.get_raw(f"/networks/{segment(name)}", query),
    )


def remove(context: Context, values: Values) -> int:
    """Remove networks, one after the other. With --force one that is not there is no failure."""
    failed = False
    for name in values.arguments:
        try:
            context.client.delete(f"/networks/{segment(name)}")
        except CliError as error:
            if values.flag("force") and getattr(error, "status", 0) == _NOT_FOUND:
                continue
            sys.stdout.flush()
            sys.stderr.write(f"{error.message}\n" + (f"Hint: {error.hint}\n" if error.hint else ""))
            failed = True
        else:
            sys.stdout.write(f"{name}\n")
    return 1 if failed else 0


LS = Command(
    summary="List networks",
    usage="[OPTIONS]",
    run=list_networks,
    options=(
        filter_option("Provide filter values (e.g. 'driver=bridge')", "f"),
        text("format", FORMAT_HELP),
        flag("no-trunc", "Do not truncate the output"),
        flag("quiet", "Only display network IDs", short="q"),
    ),
    examples=("barque network ls",),
)
INSPECT = Command(
    summary="Display detailed information on one or more networks",
    usage="[OPTIONS] NETWORK [NETWORK...]",
    run=inspect,
    arguments=(1, None),
    options=(
        text("format", "Format output: 'json', or a Go template", short="f"),
        flag("verbose", "Verbose output for diagnostics", short="v"),
    ),
    examples=("barque network inspect -f '{{json .IPAM.Config}}' bridge",),
)
RM = Command(
    summary="Remove one or more networks",
    usage="NETWORK [NETWORK...]",
    run=remove,
    arguments=(1, None),
    options=(flag("force", "Do not error if the network does not exist", short="f"),),
    examples=("barque network rm back front",),
)
