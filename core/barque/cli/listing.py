"""Lists of things (`ps`, `images`, `network ls`) as a table, as a template says, or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from barque.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FORMAT_HELP", "Listing", "print_listing"]

FORMAT_HELP = (
    "Format output using a custom template: 'table' (the default), 'table TEMPLATE', 'json', or a Go template"
)


class Listing:
    """The columns a list can show.

    `columns` computes a cell from a row; `headings` names those that have one; `default` are the columns of the plain
    table; `quiet` is the column of `-q`; `hidden` are left out of `{{json .}}`.
    """

    __slots__ = ("columns", "default", "headings", "hidden", "quiet")

    def __init__(
        self,
        *,
        columns: Mapping[str, Callable[[Any], Any]],
        headings: Mapping[str, str],
        default: Sequence[str],
        quiet: str,
        hidden: Sequence[str] = (),
    ) -> None:
        self.columns = columns
        self.headings = headings
        self.default = tuple(default)
        self.quiet = quiet
        self.hidden = tuple(hidden)


def print_listing(listing: Listing, rows: Sequence[Any], template: str, *, quiet: bool = False) -> None:
    """Write the rows to stdout. Raises TemplateError for a wrong template."""
    sys.stdout.write(render(listing, rows, template, quiet=quiet))


def render(listing: Listing, rows: Sequence[Any], template: str, *, quiet: bool = False) -> str:
    """The text of `print_listing`. `-q` wins over the default table only, as Docker has it."""
    if template in ("", "table"):
        if quiet:
            return "".join(f"{listing.columns[listing.quiet](row)}\n" for row in rows)
        return _plain_table(listing, rows)
    return _templated(listing, rows, template)


def _plain_table(listing: Listing, rows: Sequence[Any]) -> str:
    lines = ["\t".join(listing.headings[name] for name in listing.default)]
    lines += ["\t".join(str(listing.columns[name](row)) for name in listing.default) for row in rows]
    return align("\n".join(lines)) + "\n"


def _templated(listing: Listing, rows: Sequence[Any], template: str) -> str:
    from barque.cli.gotemplate import Record, Template
    from barque.cli.gotemplate.functions import HEADER_FUNCTIONS

    source = "{{json .}}" if template == "json" else template
    tabular = source.startswith(("table ", "table\t"))
    source = (source[5:].strip() if tabular else source).replace("\\t", "\t").replace("\\n", "\n")
    parsed = Template(source)
    shown = tuple(name for name in listing.columns if name not in listing.hidden)
    body = "".join(parsed.render(Record(row, listing.columns, shown)) + "\n" for row in rows)
    if not tabular:
        return body
    headings = {name: listing.headings.get(name) for name in listing.columns}
    return align(parsed.render(_Headings(headings), HEADER_FUNCTIONS) + "\n" + body)


class _Headings(dict[str, "Any"]):
    """Headings by column; `.Label "x"` in a header is the label's name itself."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return value if value is not None else _label_heading


def _label_heading(label: str) -> str:
    return label.rpartition(".")[2].replace("-", " ").replace("_", " ")
