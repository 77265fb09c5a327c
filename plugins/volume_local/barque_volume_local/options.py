"""The driver's options (`docker volume create -o`): `type`, `device` and `o` for mount(8), `size` for a quota."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["LocalOptions", "parse"]

_KNOWN = ("type", "o", "device", "size")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_PORT = re.compile(r"//[^/]*:\d+(?:/|$)")


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What is to be mounted (nothing without a `device`), and the size in bytes that the volume may have, 0 for any."""

    kind: str = ""
    device: str = ""
    words: str = ""
    size: int = 0


def parse(options: Mapping[str, str]) -> LocalOptions:
    """Errors: InvalidArgument, in Docker's words."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(f'invalid option: "{name}"', hint=f"the driver knows {', '.join(_KNOWN)}")
    kind, device = options.get("type", ""), options.get("device", "")
    if kind == "cifs" and _PORT.search(device):
        raise InvalidArgument("port not allowed in CIFS device URL, include 'port' in 'o='")
    for name, needed in _NEEDS.items():
        for other in needed:
            if name in options and other not in options:
                raise InvalidArgument(f'missing required option: "{other}"')
    if "device" in options and not device:
        raise InvalidArgument("missing device in volume options")
    if any("\0" in value for value in options.values()):
        raise InvalidArgument("an option holds a character that is not allowed")
    return LocalOptions(kind, device, options.get("o", ""), _bytes(options.get("size", "0")))


def _bytes(text: str) -> int:
    """`10m`, `1.5 GiB` -> bytes; units are powers of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'", hint="write a number and one of k, m, g, t, p")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))
