"""Showing JSON documents: indented as Docker does, or by a template."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

__all__ = ["indent", "print_documents"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_STEP = "    "


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
    if not template:
        joined = "[" + ",".join(document.decode("utf-8", "replace") for document in documents) + "]"
        sys.stdout.write(indent(joined) + "\n")
        return
    from barque.cli.gotemplate import Template

    parsed = Template("{{json .}}" if template == "json" else template)
    for document in documents:
        sys.stdout.write(parsed.render(json.loads(document)) + "\n")
