"""Which manifest of an index suits a platform best (variants as containerd matches them)."""

from __future__ import annotations

from collections.abc import Iterable

from barque.spi import Platform
from barque_image_registry.documents import Choice

__all__ = ["best", "suits"]

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armhf": "arm", "armel": "arm",
}  # fmt: skip
_VARIANTS = {
    ("amd64", "v1"): "", ("arm64", "8"): "v8", ("arm64", ""): "v8",
    ("arm", ""): "v7", ("arm", "7"): "v7", ("arm", "6"): "v6", ("arm", "5"): "v5",
}  # fmt: skip


def best(choices: Iterable[Choice], platform: Platform) -> Choice | None:
    """The choice that suits `platform` best; of equals the first. One without a platform suits when nothing else does."""
    ranked = [
        (rank, choice)
        for choice in choices
        if (rank := _rank(choice.os, choice.architecture, choice.variant, platform)) is not None
    ]
    return min(ranked, key=lambda pair: pair[0], default=(0, None))[1]


def suits(os: str, architecture: str, variant: str, platform: Platform) -> bool:
    """Whether an image that calls itself so runs on `platform`; one that names no architecture is taken at its word."""
    return _rank(os, architecture, variant, platform) is not None


def _rank(os: str, architecture: str, variant: str, platform: Platform) -> int | None:
    """Position in the order of preference; None: does not run there."""
    order = _acceptable(*_normal(platform.architecture, platform.variant))
    if not os and not architecture:
        return len(order)
    found = _normal(architecture, variant)
    return order.index(found) if os.lower() == platform.os and found in order else None


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    name = _ARCHITECTURES.get(architecture.lower(), architecture.lower())
    kind = variant.lower()
    if architecture.lower() == "armel" and not kind:
        kind = "v6"
    return name, _VARIANTS.get((name, kind), kind)


def _acceptable(architecture: str, variant: str) -> list[tuple[str, str]]:
    """What runs on the architecture, best first: older variants, and the 32-bit one the processor still knows."""
    number = int(variant[1:]) if variant[:1] == "v" and variant[1:].isdigit() and len(variant) < 4 else 0
    exact = [(architecture, variant)]
    match architecture:
        case "amd64":
            levels = [("amd64", f"v{level}") for level in range(min(number, 4), 1, -1)]
            return [*levels, ("amd64", ""), ("386", "")]
        case "arm":
            return [("arm", f"v{level}") for level in range(min(number, 8) or 7, 4, -1)]
        case "arm64" if number == 8:
            return [("arm64", "v8"), *(("arm", f"v{level}") for level in (8, 7, 6, 5))]
        case "arm64":
            return [*exact, ("arm64", "v8")]
    return exact
