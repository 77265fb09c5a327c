"""The keys that detach a client from a terminal, as Docker writes them: `ctrl-p,ctrl-q`, `a,ctrl-]`."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument

__all__ = ["detach_keys", "encoded_keys"]

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def detach_keys(text: str) -> str:
    """`text` itself. Errors: InvalidArgument."""
    _bytes(text)
    return text


def encoded_keys(text: str) -> str:
    """As an exec's document shows them: the bytes of the keys, in base64."""
    import base64

    return base64.b64encode(_bytes(text)).decode("ascii")


def _bytes(text: str) -> bytes:
    return bytes(_code(key, text) for key in text.split(",")) if text else b""


def _code(key: str, text: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    control = key.removeprefix("ctrl-")
    if control != key and len(control) == 1 and control in _CONTROL:
        return _CONTROL.index(control)
    raise InvalidArgument(
        f"Invalid escape keys ({text}) provided", hint="write keys such as a or ctrl-p, with commas between"
    )
