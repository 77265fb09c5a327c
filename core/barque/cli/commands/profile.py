"""`barque profile`: the engine profiles, and whether one is valid."""

from __future__ import annotations

import json
import os
import sys

from barque.cli.context import Context
from barque.cli.engine_commands import ask
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LS", "SHOW", "VALIDATE"]

_MODULE = "barque.profiles"
_HEADINGS = {"Name": "NAME", "Active": "ACTIVE", "Description": "DESCRIPTION", "Path": "PATH"}


def list_profiles(_context: Context, values: Values) -> int:
    """List the profiles that can be found."""
    columns = {
        "Name": lambda row: row["name"],
        "Active": lambda row: "*" if row.get("active") else "",
        "Description": lambda row: row.get("description") or "",
        "Path": lambda row: row.get("path") or "",
    }
    listing = Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("Name", "Active", "Description", "Path"),
        quiet="Name",
    )
    print_listing(listing, ask(_MODULE, "ls"), values.text("format"))
    return 0


def show_profile(_context: Context, values: Values) -> int:
    """Print a profile as TOML, or its settings as JSON."""
    found = ask(_MODULE, "show", values.arguments[0])
    if values.text("format") == "json":
        sys.stdout.write(json.dumps(found["document"], indent=4, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"# {found['path']}\n{found['toml'].rstrip()}\n")
    return 0


def validate(_context: Context, values: Values) -> int:
    """Check a profile's file; every problem is printed with the field it is about."""
    path = values.arguments[0]
    if not os.path.exists(path):
        raise CliError(f"open {path}: no such file or directory")
    found = ask(_MODULE, "validate", path)
    problems = found.get("problems") or []
    if found.get("ok") and not problems:
        sys.stdout.write(f"{path}: valid\n")
        return 0
    raise CliError("\n".join(f"{path}: {_problem(problem)}" for problem in problems) or f"{path}: not valid")


def _problem(problem: Any) -> str:
    """A problem may be a text, or an object with a field's path and a message."""
    if not isinstance(problem, dict):
        return str(problem)
    message = str(problem.get("message") or problem.get("what") or "")
    remedy = f" ({problem['remedy']})" if problem.get("remedy") else ""
    return f"{problem['field']}: {message}{remedy}" if problem.get("field") else message + remedy


LS = Command(
    summary="List engine profiles",
    usage="[OPTIONS]",
    run=list_profiles,
    options=(text("format", FORMAT_HELP),),
    examples=("barque profile ls",),
)
SHOW = Command(
    summary="Show a profile",
    usage="[OPTIONS] NAME",
    run=show_profile,
    arguments=(1, 1),
    options=(text("format", "Format output: 'json' (default: TOML)", short="f"),),
    examples=("barque profile show default",),
)
VALIDATE = Command(
    summary="Check a profile's file",
    usage="FILE",
    run=validate,
    arguments=(1, 1),
    examples=("barque profile validate ./rootless.toml",),
)
