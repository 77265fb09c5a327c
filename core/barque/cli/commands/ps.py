"""`barque ps` and `barque container ls`."""

from __future__ import annotations

import time

from barque.cli.context import Context
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, flag, number, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.quoting import go_quote
from barque.cli.units import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CONTAINER_LS", "PS", "container_listing"]


def ps(context: Context, values: Values) -> int:
    """List containers."""
    template = values.text("format")
    last = 1 if values.flag("latest") and not values.given("last") else values.number("last")
    query = {
        "all": values.flag("all") or last > 0,
        "limit": last if last > 0 else None,
        "size": values.flag("size") or ".Size" in template or "json .}}" in template,
        "filters": filters_parameter(values.all("filter")),
    }
    rows = context.client.get("/containers/json", query)
    print_listing(
        container_listing(long=values.flag("no-trunc"), size=values.flag("size")),
        rows,
        template,
        quiet=values.flag("quiet"),
    )
    return 0


def container_listing(*, long: bool, size: bool = False) -> Listing:
    """The columns of containers; `long`: nothing is truncated, `size`: theirs is shown."""
    columns = {
        "ID": lambda row: row["Id"] if long else row["Id"][:12],
        "Image": lambda row: _image(row, long),
        "Command": lambda row: _command(row, long),
        "CreatedAt": lambda row: _local_time(row["Created"]),
        "RunningFor": lambda row: human_duration(time.time() - row["Created"]) + " ago",
        "Ports": lambda row: _ports(row.get("Ports") or []),
        "State": lambda row: row.get("State", ""),
        "Status": lambda row: row.get("Status", ""),
        "Size": _size,
        "Names": lambda row: _names(row, long),
        "Labels": lambda row: ",".join(f"{k}={v}" for k, v in sorted((row.get("Labels") or {}).items())),
        "Label": lambda row: lambda key: (row.get("Labels") or {}).get(key, ""),
        "Mounts": lambda row: ",".join(_mount(mount, long) for mount in row.get("Mounts") or []),
        "LocalVolumes": lambda row: str(sum(m.get("Driver") == "local" for m in row.get("Mounts") or [])),
        "Networks": lambda row: ",".join(sorted((row.get("NetworkSettings") or {}).get("Networks") or {})),
        "Platform": lambda row: (row.get("ImageManifestDescriptor") or {}).get("platform"),
    }
    sizes = ("Size",) if size else ()
    return Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", *sizes),
        quiet="ID",
        hidden=("Label",),
    )


_HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}


def ellipsis(value: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis when some were cut off."""
    return value if len(value) <= length else value[: length - 1] + "…"


def _image(row: Any, long: bool) -> str:
    name = str(row.get("Image") or "<no image>")
    if long:
        return name
    plain = name.removeprefix("sha256:")
    if row.get("ImageID", "").removeprefix("sha256:")[:12] == plain[:12] and set(plain) <= set(
        "0123456789abcdef"
    ):
        return plain[:12]
    from barque.cli.references import strip_digest

    return strip_digest(name)


def _command(row: Any, long: bool) -> str:
    command = row.get("Command") or ""
    return go_quote(command if long else ellipsis(command, 20))


def _names(row: Any, long: bool) -> str:
    """Own names; those that links gave it (with a further slash) only in full."""
    names = [name.removeprefix("/") for name in row.get("Names") or []]
    return ",".join(name for name in names if long or "/" not in name)


def _mount(mount: Any, long: bool) -> str:
    name = str(mount.get("Name") or mount.get("Source") or "")
    return name if long else ellipsis(name, 15)


def _size(row: Any) -> str:
    size = human_size(row.get("SizeRw") or 0)
    root = row.get("SizeRootFs") or 0
    return f"{size} (virtual {human_size(root)})" if root > 0 else size


def _local_time(seconds: int) -> str:
    moment = time.localtime(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", moment)


def _ports(ports: list[Any]) -> str:
    """Published and exposed ports; adjoining ones that map to themselves are shown as a range."""
    runs: dict[str, list[list[int]]] = {}
    moved = []
    for port in sorted(ports, key=_port_order):
        private, address, protocol = port["PrivatePort"], port.get("IP") or "", port.get("Type") or ""
        if address and port.get("PublicPort") != private:
            moved.append(f"{_join(address, port.get('PublicPort') or 0)}->{private}/{protocol}")
            continue
        spans = runs.setdefault(f"{address}/{protocol}", [])
        if spans and private == spans[-1][1] + 1:
            spans[-1][1] = private
        else:
            spans.append([private, private])
    done = [_span(key, span) for key, spans in runs.items() for span in spans[:-1]]
    return ", ".join(done + [_span(key, spans[-1]) for key, spans in runs.items()] + moved)


def _port_order(port: Any) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP") or "", port.get("PublicPort") or 0, port.get("Type") or ""


def _span(key: str, span: list[int]) -> str:
    address, _, protocol = key.rpartition("/")
    shown = f"{span[0]}-{span[1]}" if span[0] != span[1] else str(span[0])
    return f"{_join(address, shown)}->{shown}/{protocol}" if address else f"{shown}/{protocol}"


def _join(address: str, port: int | str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


_OPTIONS = (
    flag("all", "Show all containers (default shows just running)", short="a"),
    filter_option("Filter output based on conditions provided", "f"),
    text("format", FORMAT_HELP),
    number("last", "Show n last created containers (includes all states)", short="n", default=-1),
    flag("latest", "Show the latest created container (includes all states)", short="l"),
    flag("no-trunc", "Don't truncate output"),
    flag("quiet", "Only display container IDs", short="q"),
    flag("size", "Display total file sizes", short="s"),
)

PS = Command(
    summary="List containers",
    usage="[OPTIONS]",
    run=ps,
    options=_OPTIONS,
    examples=("barque ps -a", "barque ps --filter status=exited --format 'table {{.Names}}\\t{{.Status}}'"),
)
CONTAINER_LS = PS
