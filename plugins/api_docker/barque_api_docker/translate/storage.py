"""`HostConfig.StorageOpt`: how much a container may write to its root."""

from __future__ import annotations

import re

from barque.spi.errors import InvalidArgument
from barque_api_docker.fields import Fields

__all__ = ["storage_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX_SIZE = 1 << 62


def storage_size(host: Fields) -> int:
    """The bytes of `size`, in Docker's notation (`1.5G`, powers of 1024), 0 when it is not there. Errors: InvalidArgument."""
    options = host.table("StorageOpt")
    for name in options:
        if name.lower() != "size":
            raise InvalidArgument(f"unknown storage option {name!r}", hint="the one there is: size=10G")
    size = next(iter(options.values()), "0")
    match = _SIZE.fullmatch(size)
    found = int(float(match[1]) * 1024 ** _POWERS[match[2].lower()]) if match else -1
    if not 0 <= found <= _MAX_SIZE:
        raise InvalidArgument(f"invalid size: '{size}'", hint="write it as 10G, 512m or a number of bytes")
    return found
