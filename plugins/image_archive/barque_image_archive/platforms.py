"""Which of several images suits a platform best (variants as containerd compares them)."""

from __future__ import annotations

from barque.spi import Platform

__all__ = ["rank"]

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armhf": "arm", "armel": "arm",
}  # fmt: skip
_DEFAULT_VARIANTS = {"amd64": 1, "arm64": 8, "arm": 7}


def rank(has: Platform, wanted: Platform) -> int | None:
    """The smaller the better; None: does not run there. An empty architecture on either side suits anything."""
    if not wanted.architecture or not has.architecture:
        return 1000
    if (has.os or "linux").lower() != (wanted.os or "linux"):
        return None
    architecture, level = _level(has)
    wanted_architecture, wanted_level = _level(wanted)
    if architecture == wanted_architecture:
        return wanted_level - level if level <= wanted_level else None
    # The 32-bit architecture that a 64-bit processor knows, too.
    return 100 if (wanted_architecture, architecture) in (("amd64", "386"), ("arm64", "arm")) else None


def _level(platform: Platform) -> tuple[str, int]:
    name = platform.architecture.lower()
    architecture = _ARCHITECTURES.get(name, name)
    digits = platform.variant.lower().removeprefix("v")
    if digits.isascii() and digits.isdigit() and len(digits) < 4:
        return architecture, int(digits)
    return architecture, _DEFAULT_VARIANTS.get(architecture, 0)
