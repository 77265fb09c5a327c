"""Showing JSON documents: indented as Docker does, or by a template."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

__all__ = ["indent", "print_documents"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_STEP = "    "
# Docker's exit code for a template of `inspect` that does not parse.
_BAD_TEMPLATE = 64


def indent(text: str) -> str:
    """The JSON text with its own numbers and escapes, four spaces a level; empty objects and lists stay closed."""
    pieces: list[str] = []
    depth = 0
    opened = False
    for token in _TOKEN.findall(text):
        closing = token in ("}", "]")
        if closing:
            depth -= 1
        if opened != closing:
            # A value after an opening bracket, or a closing bracket after a value, begins a line.
            pieces.append("\n" + _STEP * depth)
        opened = token in ("{", "[")
        if opened:
            depth += 1
        if token == ":":
            token = ": "
        pieces.append(token)
        if token == ",":
            pieces.append("\n" + _STEP * depth)
    return "".join(pieces)


def print_documents(documents: Sequence[bytes], template: str) -> None:
    """Write the documents as one JSON list, or each by the template on a line of its own."""
    if template in ("", "json"):
        joined = "[" + ",".join(document.decode("utf-8", "replace") for document in documents) + "]"
        sys.stdout.write(("".join(_TOKEN.findall(joined)) if template else indent(joined)) + "\n")
        return
    for document in documents:
        sys.stdout.write(_render(template, document) + "\n")


def _render(template: str, document: bytes) -> str:
    from barque.cli.gotemplate import Template, TemplateError

    try:
        parsed = Template(template)
    except TemplateError as error:
        error.exit_code = _BAD_TEMPLATE
        raise
    try:
        return parsed.render(json.loads(document))
    except TemplateError:
        # Docker ends the line that it could not write.
        sys.stdout.write("\n")
        raise
