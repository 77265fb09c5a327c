"""The Dockerfile language below its instructions: logical lines, flags, quoted words, JSON forms, variables.

Source: the Dockerfile reference (docs.docker.com/reference/dockerfile: format, escape, environment replacement, exec and shell form).
Where it is silent, what dockerd does with the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from barque.spi.errors import InvalidArgument

__all__ = ["expand", "leading_flags", "logical_lines", "maybe_json", "pairs", "split_instruction"]

_CONTINUED = re.compile(r"(?:(?<!\\)|^)\\[ \t]*$")
_BLANK = re.compile(r"[\t\v\f\r ]+")
_SPACES = " \t\v\f\r\n"
_SPECIAL = "@*#?-$!0"


def logical_lines(text: str) -> Iterator[str]:
    """The instructions of `text`: comments and empty lines dropped, lines that end in a backslash joined with the next."""
    whole = ""
    for raw in text.split("\n"):
        line = raw.lstrip(_SPACES) if not whole else raw.rstrip("\r")
        if line.lstrip(_SPACES).startswith("#") or not line.strip(_SPACES):
            continue
        if _CONTINUED.search(line):
            whole += _CONTINUED.sub("", line)
            continue
        yield (whole + line).strip(_SPACES)
        whole = ""
    if whole.strip(_SPACES):
        yield whole.strip(_SPACES)


def split_instruction(line: str) -> tuple[str, str]:
    """`CMD  echo a` -> ("CMD", "echo a")."""
    name, *rest = _BLANK.split(line, maxsplit=1)
    return name, rest[0].strip(_SPACES) if rest else ""


def leading_flags(text: str) -> tuple[list[str], str]:
    """The `--name=value` words that `text` begins with, and what follows. A lone `--` ends them."""
    flags: list[str] = []
    rest = text
    while rest.startswith("--"):
        word, end = _quoted_word(rest, 0)
        rest = rest[end:].lstrip(_SPACES)
        if word == "--":
            break
        flags.append(expand(word, {}))
    return flags, rest


def maybe_json(text: str) -> list[str] | None:
    """The exec form: a JSON array of strings; None when `text` is no JSON array. Errors: InvalidArgument (other members)."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(member, str) for member in value):
        raise InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")
    return value


def pairs(instruction: str, text: str) -> list[tuple[str, str]]:
    """`a=1 b="x y"`, or the old form `a x y` of one pair. Errors: InvalidArgument."""
    found = _words(text)
    if not found:
        raise InvalidArgument(f"{instruction} requires at least one argument")
    if "=" not in found[0]:
        name, *rest = _BLANK.split(text, maxsplit=1)
        if not rest:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return [(name, rest[0])]
    for word in found:
        if "=" not in word:
            raise InvalidArgument(
                f"Syntax error - can't find = in {json.dumps(word[:200], ensure_ascii=False)}. Must be of the form: name=value"
            )
    split = [word.partition("=") for word in found]
    return [(name, value) for name, _, value in split]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Remove quotes and escapes, and put in `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}`. Errors: InvalidArgument."""
    return _Scan(text, variables).until("")


def _words(text: str) -> list[str]:
    """Words separated by blanks; blanks in quotes or behind a backslash separate nothing. Quotes stay."""
    found: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in _SPACES:
            position += 1
            continue
        word, position = _quoted_word(text, position)
        found.append(word)
    return found


def _quoted_word(text: str, start: int) -> tuple[str, int]:
    """The word at `start`, and where it ends."""
    quote, position = "", start
    while position < len(text):
        char = text[position]
        if char == "\\" and quote != "'" and position + 1 < len(text):
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _SPACES:
            break
        position += 1
    return text[start:position], position


class _Scan:
    """One text being expanded."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text, self._variables = text, variables
        self._at = 0
        self._depth = 0

    def until(self, stop: str) -> str:
        """Expand up to the character `stop` (which is taken), or to the end when it is empty."""
        out: list[str] = []
        while (char := self._next()) != stop or not char:
            if not char:
                if stop:
                    raise self._bad(f"unexpected end of statement while looking for matching {stop}")
                break
            if char == "'":
                out.append(self._single_quoted())
            elif char == '"':
                out.append(self._double_quoted())
            elif char == "$":
                out.append(self._variable())
            elif char == "\\":
                out.append(self._next())
            else:
                out.append(char)
        return "".join(out)

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._bad("unexpected end of statement while looking for matching single-quote")
        value, self._at = self._text[self._at : end], end + 1
        return value

    def _double_quoted(self) -> str:
        out: list[str] = []
        while (char := self._next()) != '"':
            if not char:
                raise self._bad("unexpected end of statement while looking for matching double-quote")
            if char == "$":
                out.append(self._variable())
            elif char == "\\" and self._peek() and self._peek() in '"$\\':
                out.append(self._next())
            else:
                out.append(char)
        return "".join(out)

    def _variable(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        name = self._name()
        operator = self._next()
        value = self._variables.get(name, "") if name else ""
        if operator == "}" and name:
            return value
        if not name:
            raise self._bad("syntax error: bad substitution")
        if operator != ":":
            raise self._bad("missing ':' in substitution")
        modifier = self._next()
        word = self._word()
        if modifier == "+":
            return word if value else ""
        if modifier == "-":
            return value or word
        raise self._bad(f"unsupported modifier ({modifier}) in substitution")

    def _word(self) -> str:
        self._depth += 1
        if self._depth > 32:
            raise self._bad("too many substitutions in one another")
        word = self.until("}")
        self._depth -= 1
        return word

    def _name(self) -> str:
        match = re.compile(r"[0-9]+|[^\W\d]\w*").match(self._text, self._at)
        if match:
            self._at = match.end()
            return match[0]
        return self._next() if self._peek() and self._peek() in _SPECIAL else ""

    def _next(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _bad(self, why: str) -> InvalidArgument:
        shown = json.dumps(self._text[:200], ensure_ascii=False)
        return InvalidArgument(f"failed to process {shown}: {why}")
