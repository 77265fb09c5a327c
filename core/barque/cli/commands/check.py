"""`barque system check`: is everything in the store what it should be?"""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.quoting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHECK"]

_HEADINGS = {
    "Kind": "KIND",
    "Subject": "SUBJECT",
    "Problem": "PROBLEM",
    "Images": "IMAGES",
    "Repaired": "REPAIRED",
    "Action": "ACTION",
}
_SHORT = 19  # sha256: and twelve digits


def check(context: Context, values: Values) -> int:
    """Verify the store, and with --repair put right what can be. The exit code is 1 while something is wrong."""
    from barque.cli.messages import follow, sink

    with sink(sys.stderr, quiet=values.flag("quiet") or not sys.stderr.isatty()) as show:
        response = context.client.stream("POST", "/barque/check", {"repair": values.flag("repair")})
        results = follow(response, show)
    findings = [finding for result in results for finding in result.get("Findings") or []]
    template = values.text("format")
    if findings or template:
        print_listing(_listing(values.flag("no-trunc")), findings, template)
    else:
        sys.stdout.write("The store is whole.\n")
    return 0 if all(finding.get("Repaired") for finding in findings) else 1


def _listing(long: bool) -> Listing:
    def shown(name: str) -> str:
        return name if long or not name.startswith("sha256:") else name[:_SHORT]

    columns: dict[str, Any] = {
        "Kind": lambda row: row.get("Kind", ""),
        "Subject": lambda row: shown(str(row.get("Subject", ""))),
        "Problem": lambda row: printable(str(row.get("Problem", ""))),
        "Images": lambda row: ",".join(map(shown, row.get("Images") or [])),
        "Repaired": lambda row: "yes" if row.get("Repaired") else "no",
        "Action": lambda row: printable(str(row.get("Action", ""))),
    }
    return Listing(columns=columns, headings=_HEADINGS, default=tuple(columns), quiet="Subject")


CHECK = Command(
    summary="Verify every blob and layer of the store",
    usage="[OPTIONS]",
    run=check,
    options=(
        text("format", FORMAT_HELP),
        flag("no-trunc", "Don't truncate output"),
        flag("quiet", "Do not show progress", short="q"),
        flag("repair", "Put right what can be; what cannot is marked and said"),
    ),
    examples=("barque system check", "barque system check --repair"),
)
