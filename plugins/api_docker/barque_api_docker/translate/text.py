"""Docker's notations: times, ages, sizes, image names."""

from __future__ import annotations

import math
import re
import time

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument

__all__ = [
    "SCHEMES",
    "age",
    "familiar_name",
    "human_size",
    "platform",
    "rfc3339",
    "rfc3339_fixed",
]

# Image sources besides registries. A docker CLI takes `deb:bash` for repository `deb`, tag `bash`.
SCHEMES = frozenset({"deb"})

_ZERO = "0001-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}


def rfc3339(ns: int) -> str:
    """A time as Go's RFC3339Nano; never (0) is Go's zero time."""
    if ns <= 0:
        return _ZERO
    seconds, fraction = divmod(ns, 1_000_000_000)
    digits = f"{fraction:09}".rstrip("0")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + (f".{digits}Z" if digits else "Z")


def rfc3339_fixed(ns: int) -> str:
    """A time with all nine digits, as `docker logs --timestamps` shows it."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09}Z"


_AGES = (
    (1, "Less than a second"),
    (2, "1 second"),
    (60, "{s} seconds"),
    (120, "About a minute"),
    (60 * 60, "{m} minutes"),
    (90 * 60, "About an hour"),
)


def age(ns: int) -> str:
    """How long ago `ns` was, in the words of `docker ps`."""
    seconds = max(0, (time.time_ns() - ns) // 1_000_000_000)
    for bound, words in _AGES:
        if seconds < bound:
            return words.format(s=seconds, m=seconds // 60)
    hours = math.floor(seconds / 3600 + 0.5)
    for limit, unit, size in (
        (48, "hours", 1),
        (24 * 14, "days", 24),
        (24 * 60, "weeks", 24 * 7),
        (24 * 365 * 2, "months", 24 * 30),
    ):
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{seconds // (365 * 24 * 3600)} years"


def human_size(size: int) -> str:
    """Bytes with four significant digits in powers of 1000 (`1.982MB`)."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            return f"{value:.4g}{unit}"
        value /= 1000
    return f"{value:.4g}EB"


def familiar_name(name: str) -> str:
    """An image's name as Docker shows it: without `docker.io/` and `library/`."""
    return name.removeprefix("docker.io/").removeprefix("library/") if name.startswith("docker.io/") else name


def platform(text: str) -> Platform | None:
    """`os[/architecture[/variant]]`, or an architecture alone; None for "". Errors: InvalidArgument."""
    if not text:
        return None
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts):
        raise InvalidArgument(
            f'"{text}" is an invalid platform', hint="write os/architecture[/variant], such as linux/arm64"
        )
    if len(parts) == 1:
        return (
            Platform() if parts[0] == "linux" else Platform("linux", _ARCHITECTURES.get(parts[0], parts[0]))
        )
    architecture = _ARCHITECTURES.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 else ""
    return Platform(parts[0], architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)
