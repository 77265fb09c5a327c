"""Flags whose value is a line of comma-separated fields, some of them in double quotes."""

from __future__ import annotations

__all__ = ["csv_fields"]


def csv_fields(value: str) -> list[str]:
    """The fields of one line. Raises ValueError in the words of Go's encoding/csv for quotes that do not match."""
    if not value:
        raise ValueError("EOF")
    if '"' not in value:
        return value.split(",")
    import csv

    try:
        return next(csv.reader([value], strict=True))
    except csv.Error:
        raise ValueError('parse error on line 1: extraneous or missing " in quoted-field') from None
