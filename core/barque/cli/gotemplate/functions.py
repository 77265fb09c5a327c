"""The functions a template may call: Go's built-in ones and those Docker adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from barque.cli.gotemplate.values import TemplateError, compare, equal, go_json, go_print
from barque.cli.quoting import go_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FUNCTIONS", "HEADER_FUNCTIONS", "call"]

_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")


def call(name: str, function: Callable[..., Any], arguments: list[Any]) -> Any:
    """Call a function; what goes wrong in it becomes a TemplateError that names it."""
    try:
        return function(*arguments)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise TemplateError(f'executing "" at <{name}>: error calling {name}: {error}') from error


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise ValueError("index of untyped nil")
        if isinstance(value, Mapping):
            value = value.get(key, "" if _of_strings(value) else None)
        elif isinstance(value, list | str):
            if isinstance(key, bool) or not isinstance(key, int):
                raise ValueError(f"cannot index slice/array with type {type(key).__name__}")
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise ValueError(f"can't index item of type {type(value).__name__}")
    return value


def _of_strings(value: Mapping[str, Any]) -> bool:
    """Whether Go would know this as map[string]string, whose missing keys read as empty (labels, options)."""
    return all(isinstance(item, str) for item in value.values())


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, str | list):
        raise ValueError(f"can't slice item of type {type(value).__name__}")
    low, high = (*bounds, *(0, len(value))[len(bounds) :])[:2]
    if not 0 <= low <= high <= len(value):
        raise ValueError(f"index out of range: {high}")
    return value[low:high]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | Mapping):
        return len(value)
    raise ValueError(f"len of {'nil pointer' if value is None else 'type ' + type(value).__name__}")


def _printf(template: str, *arguments: Any) -> str:
    left = list(arguments)

    def verb(match: re.Match[str]) -> str:
        flags, width, precision, letter = match.groups()
        if letter == "%":
            return "%"
        if not left:
            return f"%!{letter}(MISSING)"
        return _verb(letter, flags, width, precision, left.pop(0))

    text = _VERB.sub(verb, template)
    extra = ", ".join(f"{type(value).__name__}={go_print(value)}" for value in left)
    return text + (f"%!(EXTRA {extra})" if extra else "")


def _verb(letter: str, flags: str, width: str, precision: str | None, value: Any) -> str:
    points = "" if precision is None else f".{precision}"
    if letter in "vs":
        shown = go_print(value)
        return str(
            f"%{flags.replace('#', '').replace('0', '')}{width}{points if letter == 's' else ''}s" % shown
        )
    if letter == "q":
        return f"%{flags.replace('0', '')}{width}s" % go_quote(go_print(value))
    if letter == "t" and isinstance(value, bool):
        return go_print(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if letter in "dxXocb" and number and isinstance(value, int):
        return f"{value:{width}b}" if letter == "b" else str(f"%{flags}{width}{letter}" % value)
    if letter in "eEfFgG" and number:
        return str(f"%{flags}{width}{points}{letter}" % value)
    return f"%!{letter}({type(value).__name__}={go_print(value)})"


def _print(*values: Any) -> str:
    """fmt.Sprint: a space between operands when neither is a string."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += go_print(value)
    return text


def _truncate(value: str, length: int) -> str:
    return value[:length]


def _pad(value: str, before: int, after: int) -> str:
    return value if not value else " " * before + value + " " * after


def _title(value: str) -> str:
    return re.sub(r"(?<!\w)\w", lambda match: match.group().upper(), value)


def _html(*values: Any) -> str:
    table = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
    return "".join(table.get(letter, letter) for letter in _print(*values))


def _urlquery(*values: Any) -> str:
    from barque.cli.transport import quote

    return quote(_print(*values)).replace("%20", "+")


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": lambda first, *others: any(equal(first, other) for other in others),
    "ne": lambda left, right: not equal(left, right),
    "lt": lambda left, right: compare(left, right) < 0,
    "le": lambda left, right: compare(left, right) <= 0,
    "gt": lambda left, right: compare(left, right) > 0,
    "ge": lambda left, right: compare(left, right) >= 0,
    "not": lambda value: not value,
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(go_print(value) for value in values) + "\n",
    "printf": _printf,
    "html": _html,
    "urlquery": _urlquery,
    "json": go_json,
    "join": lambda values, separator: separator.join(go_print(value) for value in values),
    "split": lambda value, separator: value.split(separator) if separator else list(value),
    "lower": lambda value: value.lower(),
    "upper": lambda value: value.upper(),
    "title": _title,
    "pad": _pad,
    "truncate": _truncate,
}

# In the header of a `table` format, functions leave the column's heading as it is.
HEADER_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **FUNCTIONS,
    **{name: lambda value, *_rest: value for name in ("json", "join", "split", "lower", "upper", "title")},
    "pad": _pad,
    "truncate": lambda value, _length: value,
}
