"""A template's text and actions, and the tokens of an action."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from barque.cli.gotemplate.values import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Token", "pieces", "tokens"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'(?:[^'\\]|\\.)')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![\w.]))
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.(?!\d))
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    | (?P<mark>:=|=|\||\(|\)|,)
    """,
    re.VERBOSE,
)


class Token:
    """`kind` is a group of the pattern above; `value` the literal's value or the text; `glued`: no space before."""

    __slots__ = ("glued", "kind", "text", "value")

    def __init__(self, kind: str, text: str, value: Any, glued: bool) -> None:
        self.kind = kind
        self.text = text
        self.value = value
        self.glued = glued


def pieces(source: str) -> Iterator[tuple[bool, str]]:
    """(is an action, its inside) in order: text trimmed by `{{-` and `-}}`, comments left out."""
    position = 0
    trim = False
    while True:
        start = source.find("{{", position)
        plain = source[position:] if start < 0 else source[position:start]
        if trim:
            plain = plain.lstrip()
        if start < 0:
            yield False, plain
            return
        left = source[start + 2 : start + 4]
        trim_left = len(left) == 2 and left[0] == "-" and left[1].isspace()
        end = _action_end(source, start + 2)
        yield False, plain.rstrip() if trim_left else plain
        inside = source[start + 2 : end]
        trim = len(inside) > 1 and inside[-1] == "-" and inside[-2].isspace()
        inside = inside[1 if trim_left else 0 : -1 if trim else None].strip()
        if not (inside.startswith("/*") and inside.endswith("*/")):
            yield True, inside
        position = end + 2


def _action_end(source: str, start: int) -> int:
    """Where the action's `}}` is: one in a string does not count."""
    if source[start:].lstrip("- \t\r\n").startswith("/*"):
        end = source.find("}}", source.find("*/", start))
        if end < 0:
            raise TemplateError("unclosed comment")
        return end
    quoted = ""
    index = start
    while index < len(source):
        letter = source[index]
        if quoted:
            if letter == "\\" and quoted != "`":
                index += 1
            elif letter == quoted:
                quoted = ""
        elif letter in "\"`'":
            quoted = letter
        elif source.startswith("}}", index):
            return index
        index += 1
    raise TemplateError("unclosed action" if not quoted else "unterminated quoted string")


def tokens(action: str) -> list[Token]:
    """The tokens of an action's inside."""
    found: list[Token] = []
    position = 0
    glued = False
    while position < len(action):
        match = _TOKEN.match(action, position)
        if match is None:
            raise TemplateError(f'unexpected "{action[position]}" in operand')
        group = str(match.lastgroup)
        if group == "space":
            glued = False
        else:
            found.append(Token(group, match.group(), _literal(group, match.group()), glued))
            glued = True
        position = match.end()
    return found


def _literal(group: str, text: str) -> Any:
    if group == "string":
        return _unquote(text)
    if group == "raw":
        return text[1:-1]
    if group == "char":
        return ord(_unquote(f'"{text[1:-1]}"'))
    if group == "number":
        return int(text, 0) if text.lstrip("+-").isdigit() or "x" in text.lower() else float(text)
    return text


def _unquote(text: str) -> str:
    try:
        return str(
            json.loads(text.replace("\\'", "'").replace("\\a", "\\u0007").replace("\t", "\\t"), strict=False)
        )
    except ValueError:
        raise TemplateError(f"invalid syntax in string {text}") from None
