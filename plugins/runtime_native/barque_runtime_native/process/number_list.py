"""Lists of numbers as the kernel writes them for CPUs and memory nodes: `0-3,7` (cpuset(7), "List format")."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument

MAX_NUMBER = 8191


def parse(text: str, field: str) -> list[int]:
    """The numbers, ascending. Errors: InvalidArgument that names `field`."""
    found: set[int] = set()
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        first, dash, last = (each.strip() for each in part.partition("-"))
        if not is_number(first) or (dash and not is_number(last)):
            raise InvalidArgument(f"{field}: {part!r} is neither a number nor a range", hint="as in 0-3,7")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or high > MAX_NUMBER:
            raise InvalidArgument(f"{field}: {part!r} is not a range from 0 to {MAX_NUMBER}")
        found.update(range(low, high + 1))
    return sorted(found)


def is_number(text: str) -> bool:
    """Whether it is made of at most four ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_NUMBER))


def mask(numbers: list[int]) -> bytes:
    """A bit mask in the kernel's form: whole words, little-endian on every machine this runtime knows."""
    size = (numbers[-1] // 64 + 1) * 8 if numbers else 0
    return sum(1 << number for number in numbers).to_bytes(size, "little")
