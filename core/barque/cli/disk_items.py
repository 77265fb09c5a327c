"""`barque system df --all`: the whole of the engine's disk, owner by owner, largest first."""

from __future__ import annotations

import re
import sys

from barque.cli.flags import Values
from barque.cli.listing import Listing, print_listing
from barque.cli.quoting import printable
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["print_items"]

_HEADINGS = {
    "Kind": "KIND",
    "Owner": "OWNER",
    "What": "WHAT",
    "Size": "SIZE",
    "Shared": "SHARED",
    "Reclaimable": "RECLAIMABLE",
}
_SHORT = 12
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


def print_items(usage: Any, values: Values) -> int:
    """The table and, below the plain one, the sum; 1 when the items do not add up to what is on the disk."""
    rows = sorted(usage.get("Items") or [], key=lambda item: -item["Bytes"])
    template = values.text("format")
    print_listing(_listing(values.flag("no-trunc")), rows, template)
    total, listed = usage["Total"], sum(row["Bytes"] for row in rows)
    if template in ("", "table"):
        free = sum(row["Bytes"] for row in rows if row["Reclaimable"])
        sys.stdout.write(
            f"\nTotal: {human_size(total, 4)} ({total} bytes) below {usage['Root']}, as du(1) counts; "
            f"{human_size(free, 4)} reclaimable\n"
        )
    if listed != total:
        sys.stderr.write(f"{abs(total - listed)} bytes of {total} have no owner, or more than one\n")
    return 0 if listed == total else 1


def _listing(long: bool) -> Listing:
    def owner(row: Any) -> str:
        name = str(row["Owner"])
        whole = long or not set(name.removeprefix("sha256:")) <= set("0123456789abcdef")
        return name if whole else name.removeprefix("sha256:")[:_SHORT]

    columns: dict[str, Any] = {
        "Kind": lambda row: row["Kind"],
        "Owner": owner,
        "What": lambda row: printable(row["What"] if long else _DIGEST.sub(r"\1", row["What"])),
        "Size": lambda row: human_size(row["Bytes"], 4),
        "Shared": lambda row: str(row["Shared"]),
        "Reclaimable": lambda row: "yes" if row["Reclaimable"] else "no",
        "Bytes": lambda row: row["Bytes"],
    }
    return Listing(
        columns=columns, headings=_HEADINGS | {"Bytes": "BYTES"}, default=tuple(_HEADINGS), quiet="Owner"
    )
