"""JSON through CPython's own C scanner and encoder.

`import json` compiles regular expressions and costs a cold `barque-runtime` 6 of its 20 ms; the scanner underneath
does not need them. Another interpreter, or a CPython that moved it, gets the json module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Context:
    """What `_json.make_scanner` reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8. Errors: ValueError."""
    text = data.decode("utf-8").strip(" \t\r\n")
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text, parse_constant=_refuse_constant)
    try:
        value, end = make_scanner(_Context)(text, 0)  # type: ignore[arg-type]
    except StopIteration:
        raise ValueError("expected a JSON value") from None
    except SystemError:  # the scanner can name a syntax error only when json.decoder is loaded
        import json

        return json.loads(text, parse_constant=_refuse_constant)
    if end != len(text):
        raise ValueError(f"extra data at character {end}")
    return value


def dumps(value: object, *, indent: bool = False, sort_keys: bool = False) -> bytes:
    """`value` as a JSON text in ASCII."""
    if not indent:
        try:
            from _json import encode_basestring_ascii, make_encoder

            encoder = make_encoder(
                None, _default, encode_basestring_ascii, None, ":", ",", sort_keys, False, False
            )
            return "".join(encoder(value, 0)).encode("ascii")
        except (ImportError, TypeError):
            pass
    import json

    return json.dumps(value, sort_keys=sort_keys, indent=2 if indent else None).encode("ascii")


def _default(value: object) -> object:
    raise ValueError(f"{type(value).__name__} is not JSON")
