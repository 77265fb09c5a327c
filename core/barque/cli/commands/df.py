"""`barque system df`: Docker's summary and details, and with --all every byte with its owner."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DF"]

_HEADINGS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_ACTIVE = ("running", "paused", "restarting")


def disk_usage(context: Context, values: Values) -> int:
    """Show what is on the engine's disk."""
    if values.flag("all"):
        if values.flag("verbose"):
            raise CliError("conflicting options: cannot specify both --all and --verbose")
        from barque.cli.disk_items import print_items

        return print_items(context.client.get("/barque/df"), values)
    usage = context.client.get("/system/df")
    if values.flag("verbose"):
        from barque.cli.disk_details import details

        sys.stdout.write(details(usage, values.text("format")))
        return 0
    print_listing(_listing(), _rows(usage), values.text("format"))
    return 0


def _listing() -> Listing:
    columns: dict[str, Any] = {name: lambda row, name=name: row[name] for name in _HEADINGS}
    return Listing(columns=columns, headings=_HEADINGS, default=tuple(columns), quiet="Type")


def _rows(usage: Any) -> list[dict[str, str]]:
    return [_images(usage), _containers(usage), _volumes(usage), _row("Build Cache", 0, 0, 0, 0)]


def _images(usage: Any) -> dict[str, str]:
    """What is not in an image that has containers is reclaimable. Shared layers are counted once, in the whole."""
    images, total = usage.get("Images") or [], usage.get("LayersSize") or 0
    active = [image for image in images if image.get("Containers")]
    used = sum(
        image["Size"] - image["SharedSize"]
        for image in active
        if -1 not in (image.get("Size", -1), image.get("SharedSize", -1))
    )
    return _row("Images", len(images), len(active), total, total - used)


def _containers(usage: Any) -> dict[str, str]:
    containers = usage.get("Containers") or []
    active = [one for one in containers if str(one.get("State", "")).lower() in _ACTIVE]
    total = sum(one.get("SizeRw") or 0 for one in containers)
    used = sum(one.get("SizeRw") or 0 for one in active)
    return _row("Containers", len(containers), len(active), total, total - used)


def _volumes(usage: Any) -> dict[str, str]:
    counted = [one.get("UsageData") or {} for one in usage.get("Volumes") or []]
    total = sum(max(0, one.get("Size", 0)) for one in counted)
    used = sum(max(0, one.get("Size", 0)) for one in counted if one.get("RefCount", 0) > 0)
    active = sum(one.get("RefCount", 0) > 0 for one in counted)
    return _row("Local Volumes", len(counted), active, total, total - used)


def _row(kind: str, count: int, active: int, total: int, reclaimable: int) -> dict[str, str]:
    share = f" ({reclaimable * 100 // total}%)" if total > 0 else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human_size(total, 4),
        "Reclaimable": human_size(reclaimable, 4) + share,
    }


DF = Command(
    summary="Show the engine's disk usage",
    usage="[OPTIONS]",
    run=disk_usage,
    options=(
        flag("all", "Show every byte with its owner, and their sum as du(1) counts it", short="a"),
        text("format", FORMAT_HELP),
        flag("no-trunc", "Don't truncate output (of --all)"),
        flag("verbose", "Show detailed information on space usage", short="v"),
    ),
    examples=("barque system df", "barque system df -v", "barque system df --all"),
)
