"""Columns aligned as Docker aligns them: at least ten wide, three spaces apart, the last one ragged."""

from __future__ import annotations

__all__ = ["align", "width"]

_LEAST = 10
_GAP = 3


def align(text: str, least: int = _LEAST) -> str:
    """Replace the tabs of `text` by spaces so that the cells of adjoining lines line up, each `least` columns wide.

    A cell is what ends with a tab; a column is a run of adjoining lines that have that cell (the elastic tabstops of
    Go's text/tabwriter), so a line with fewer cells ends the columns to its right.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    _widen(lines, 0, len(lines), 0, least)
    return "\n".join("".join(cells) for cells in lines)


def _widen(lines: list[list[str]], start: int, end: int, column: int, least: int) -> None:
    """Pad the cells of `column` in lines start..end, run by run, and then the columns to their right."""
    line = start
    while line < end:
        if len(lines[line]) <= column + 1:
            line += 1
            continue
        first = line
        while line < end and len(lines[line]) > column + 1:
            line += 1
        widest = max(least, *(width(cells[column]) + _GAP for cells in lines[first:line]))
        _widen(lines, first, line, column + 1, least)
        for cells in lines[first:line]:
            cells[column] += " " * (widest - width(cells[column]))


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
