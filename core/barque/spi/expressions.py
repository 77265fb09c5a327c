"""Regular expressions of users: Go's syntax, and time linear in what is searched.

Python's own `re` backtracks: an expression of ten characters can hold the interpreter, and with it every client of the daemon, for hours.
RE2 (google.com/re2), whose syntax Go took over, cannot. It is imported when an expression is one.
"""

from __future__ import annotations

from collections.abc import Callable

from barque.spi.errors import InvalidArgument

__all__ = ["expression"]

_SPECIAL = frozenset("\\.+*?()|[]{}^$")
_LONGEST = 4096
_MEMORY = 1 << 20  # bytes that a compiled expression may take


def expression(text: str) -> Callable[[str], bool]:
    """Whether `text` is found in a string, as a function of the string. Errors: InvalidArgument."""
    if not _SPECIAL & set(text):
        return lambda subject: text in subject
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    if len(text) > _LONGEST:
        raise InvalidArgument(
            "error parsing regexp: expression is too long", hint=f"at most {_LONGEST} characters"
        )
    try:
        compiled = re2.compile(text, options)
    except (re2.error, UnicodeError) as error:
        reason = (
            error.args[0].decode("utf-8", "replace")
            if error.args and isinstance(error.args[0], bytes)
            else error
        )
        raise InvalidArgument(
            f"error parsing regexp: {reason}", hint="the syntax is that of Go (RE2)"
        ) from None
    return lambda subject: compiled.search(subject) is not None
