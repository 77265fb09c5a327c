"""`barque plugin`: the drivers that are installed, what they lack here, and how they are configured."""

from __future__ import annotations

import json
import sys

from barque.cli.context import Context
from barque.cli.engine_commands import ask
from barque.cli.flags import Command, Values, flag, repeated, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LS", "SHOW", "VERIFY"]

_MODULE = "barque.plugins"
_VERIFY_MODULE = "barque.testing.verify"
_HEADINGS = {
    "Kind": "KIND",
    "Name": "NAME",
    "Usable": "USABLE",
    "Distribution": "DISTRIBUTION",
    "Version": "VERSION",
    "Module": "MODULE",
    "Problems": "PROBLEMS",
}


def list_plugins(_context: Context, values: Values) -> int:
    """List the drivers of every kind."""
    columns = {
        "Kind": lambda row: row["kind"],
        "Name": lambda row: row["name"],
        "Usable": lambda row: "yes" if row.get("usable") else "no",
        "Distribution": lambda row: row.get("distribution") or "",
        "Version": lambda row: row.get("version") or "",
        "Module": lambda row: row.get("module") or "",
        "Problems": lambda row: row.get("error") or "; ".join(p["what"] for p in row.get("problems") or ()),
    }
    listing = Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("Kind", "Name", "Usable", "Distribution", "Version", "Problems"),
        quiet="Name",
    )
    print_listing(listing, ask(_MODULE, "ls"), values.text("format"))
    return 0


def show_plugin(_context: Context, values: Values) -> int:
    """Show one driver: capabilities, hooks, configuration, problems with their remedies."""
    found = ask(_MODULE, "show", values.arguments[0])
    if values.text("format") == "json":
        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
        return 0
    sys.stdout.write(_description(found))
    return 0


def _description(found: Any) -> str:
    source = f"{found.get('distribution') or ''} {found.get('version') or ''}".strip()
    text = f"{found['kind']}:{found['name']}\n"
    text += f"  Provided by:   {source} ({found.get('module') or ''})\n"
    text += f"  Usable:        {'yes' if found.get('usable') else 'no'}\n"
    if found.get("error"):
        text += f"  Error:         {found['error']}\n"
    for title, key in (("Capabilities", "capabilities"), ("Hooks", "hooks")):
        text += f"  {title + ':':<14} {', '.join(found.get(key) or ()) or '(none)'}\n"
    for problem in found.get("problems") or ():
        text += f"\n  {'Problem' if problem.get('fatal') else 'Note'}: {problem['what']}\n  Remedy: {problem['remedy']}\n"
    if found.get("config"):
        rows = [f"  {c['field']}\t{c['type']}\t{c['default']}\t{c['doc']}" for c in found["config"]]
        text += "\n" + align("\n".join(["  SETTING\tTYPE\tDEFAULT\tMEANING", *rows])) + "\n"
    return text


def verify(_context: Context, values: Values) -> int:
    """Run the conformance kit against a driver; 0 when nothing failed."""
    options = [word for option in values.all("set") for word in ("--set", option)]
    for name in ("profile", "reference"):
        if values.text(name):
            options += [f"--{name}", values.text(name)]
    report = ask(_VERIFY_MODULE, "run", values.arguments[0], *options, patience=None)
    failed = [outcome["test"] for outcome in report["outcomes"] if outcome["result"] == "failed"]
    if values.text("format") == "json":
        sys.stdout.write(json.dumps(report, indent=4, ensure_ascii=False) + "\n")
    elif values.flag("quiet"):
        sys.stdout.write("".join(f"{test}\n" for test in failed))
    else:
        from barque.cli.verification import print_report

        print_report(report)
    return 1 if failed else 0


LS = Command(
    summary="List the drivers that are installed",
    usage="[OPTIONS]",
    run=list_plugins,
    options=(text("format", FORMAT_HELP),),
    examples=("barque plugin ls",),
)
SHOW = Command(
    summary="Show a driver: capabilities, configuration, what it lacks on this host",
    usage="[OPTIONS] KIND:NAME",
    run=show_plugin,
    arguments=(1, 1),
    options=(text("format", "Format output: 'json'", short="f"),),
    examples=("barque plugin show storage:overlay",),
)
VERIFY = Command(
    summary="Run the conformance kit against a driver",
    usage="[OPTIONS] KIND:NAME",
    run=verify,
    arguments=(1, 1),
    options=(
        repeated("set", "Set an option of the driver", metavar="key=value"),
        text("profile", "Take the driver and its options from a profile; NAME is then that of the instance"),
        text("reference", "An image to fetch, a small one; the kit of kind image needs it"),
        text("format", "Format output: 'json' (default: a table)"),
        flag("quiet", "Print the names of failed tests only", short="q"),
    ),
    examples=(
        "barque plugin verify runtime:native",
        "barque plugin verify --set path=crun runtime:runc",
        "barque plugin verify --profile default runtime:crun",
        "barque plugin verify --reference busybox-static image:deb",
    ),
)
