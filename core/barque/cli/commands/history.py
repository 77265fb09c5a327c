"""`barque history`."""

from __future__ import annotations

import time

from barque.cli.context import Context
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.platforms import platform_parameter
from barque.cli.transport import segment
from barque.cli.units import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HISTORY"]

_HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def history(context: Context, values: Values) -> int:
    """Show how an image came about, newest step first."""
    platform = platform_parameter(values.text("platform"))
    rows = context.client.get(
        f"/images/{segment(values.arguments[0], '/:@')}/history", {"platform": platform}
    )
    print_listing(_listing(values), rows, values.text("format"), quiet=values.flag("quiet"))
    return 0


def _listing(values: Values) -> Listing:
    long, human = values.flag("no-trunc"), values.flag("human")

    def created(row: Any) -> str:
        if not row.get("Created"):
            return "N/A"
        return f"{human_duration(time.time() - row['Created'])} ago"

    columns = {
        "ID": lambda row: row["Id"] if long else row["Id"].removeprefix("sha256:")[:12],
        "CreatedSince": created,
        "CreatedAt": lambda row: _iso(row.get("Created") or 0),
        "CreatedBy": lambda row: _step(row.get("CreatedBy") or "", long),
        "Size": lambda row: human_size(row.get("Size") or 0) if human else str(row.get("Size") or 0),
        "Comment": lambda row: row.get("Comment") or "",
    }
    return Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"),
        quiet="ID",
    )


def _iso(seconds: int) -> str:
    moment = time.localtime(seconds)
    zone = time.strftime("%z", moment)
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def _step(step: str, long: bool) -> str:
    step = step.replace("\t", " ")
    return step if long or len(step) <= 45 else step[:44] + "…"


HISTORY = Command(
    summary="Show the history of an image",
    usage="[OPTIONS] IMAGE",
    run=history,
    arguments=(1, 1),
    options=(
        text("format", FORMAT_HELP),
        flag("human", "Print sizes and dates in human readable format", short="H", default=True),
        flag("no-trunc", "Don't truncate output"),
        text("platform", "Show history for the given platform"),
        flag("quiet", "Only show image IDs", short="q"),
    ),
    examples=("barque history alpine",),
)
