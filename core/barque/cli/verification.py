"""What `barque plugin verify` shows: a table of tests, and the totals, by rich."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["print_report"]

_FILE_WIDTH = 200  # a file or a pipe has room
_COLOURS = {"passed": "green", "skipped": "yellow", "failed": "red"}


def print_report(report: Any) -> None:
    """Write the table of `barque.testing.verify.Report` as a document, and below it the totals."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Test", "Result", "Reason"):
        table.add_column(heading, overflow="fold")
    for outcome in report["outcomes"]:
        colour = _COLOURS[outcome["result"]]
        result = f"[{colour}]{outcome['result']}[/{colour}]"
        table.add_row(escape(outcome["test"]), result, escape(" ".join(outcome["reason"].split())))
    console.print(table)
    counts = {
        result: sum(outcome["result"] == result for outcome in report["outcomes"]) for result in _COLOURS
    }
    version = report["facts"].get("version", "")
    subject = f"{report['driver']} ({version})" if version else report["driver"]
    console.print()
    console.print(
        f"{escape(subject)}: " + ", ".join(f"{count} {result}" for result, count in counts.items()),
        soft_wrap=True,
    )
