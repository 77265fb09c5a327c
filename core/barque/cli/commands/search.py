"""`barque search`."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, flag, number, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.quoting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SEARCH"]

_HEADINGS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
}
_DESCRIPTION = 45


def search(context: Context, values: Values) -> int:
    """Search a registry: Docker Hub unless the term begins with another's host."""
    from barque.cli.credentials import registry_auth

    term = values.arguments[0]
    query = {
        "term": term,
        "limit": values.number("limit") or None,
        "filters": filters_parameter(values.all("filter")),
    }
    rows = context.client.get("/images/search", query, registry_auth(term, context.environ))
    template = values.text("format")
    listing = _listing(values.flag("no-trunc"), as_json=template in ("json", "{{json .}}"))
    print_listing(listing, rows, template)
    return 0


def _listing(long: bool, *, as_json: bool) -> Listing:
    """Docker says `true` in JSON where it says `[OK]` elsewhere."""
    yes, no = ("true", "false") if as_json else ("[OK]", "")
    columns = {
        "Name": lambda row: printable(str(row.get("name", ""))),
        "Description": lambda row: _description(row, long),
        "StarCount": lambda row: str(row.get("star_count") or 0),
        "IsOfficial": lambda row: yes if row.get("is_official") else no,
    }
    default = ("Name", "Description", "StarCount", "IsOfficial")
    return Listing(columns=columns, headings=_HEADINGS, default=default, quiet="Name")


def _description(row: Any, long: bool) -> str:
    line = printable(str(row.get("description") or "").replace("\r", " ").replace("\n", " "))
    return line if long or len(line) <= _DESCRIPTION else line[: _DESCRIPTION - 1] + "…"


SEARCH = Command(
    summary="Search a registry for images",
    usage="[OPTIONS] TERM",
    run=search,
    arguments=(1, 1),
    options=(
        filter_option("Filter output based on conditions provided", "f"),
        text("format", FORMAT_HELP),
        number("limit", "Max number of search results"),
        flag("no-trunc", "Don't truncate output"),
    ),
    examples=("barque search --filter is-official=true debian", "barque search registry.example.com/base"),
)
