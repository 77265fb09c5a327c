"""Ranges of user and group ids: `uidMappings` and `gidMappings` of `linux` and of a mount (user_namespaces(7)).

All checks that the kernel makes, and a few that it leaves to the writer, happen before anything is done.
"""

from __future__ import annotations

import errno
import os
from itertools import pairwise

from barque.spi.errors import InvalidArgument, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

# Linux 4.15: one page of 12-byte ranges
MAX_MAPPINGS = 340
# the highest id is "no id" to the kernel
MAX_ID = 2**32 - 2
KEYS = ("uidMappings", "gidMappings")


class Mapping:
    """`size` ids from `inside` on in the user namespace are those from `outside` on in its parent."""

    __slots__ = ("inside", "name", "outside", "size")

    def __init__(self, section: Section) -> None:
        self.name = section.name
        numbers = [section.integer(key, 0, MAX_ID) for key in ("containerID", "hostID")]
        size = section.integer("size", 1, MAX_ID + 1)
        for key, value in zip(("containerID", "hostID", "size"), (*numbers, size), strict=True):
            if value is None:
                raise InvalidArgument(f"{section.path(key)} is missing")
        self.inside, self.outside, self.size = numbers[0] or 0, numbers[1] or 0, size or 0
        if max(self.inside, self.outside) + self.size - 1 > MAX_ID:
            raise InvalidArgument(f"{self.name}: the range goes beyond the highest id, {MAX_ID}")

    @property
    def triple(self) -> tuple[int, int, int]:
        """As a line of uid_map has them."""
        return self.inside, self.outside, self.size


def read_mappings(section: Section, key: str) -> list[Mapping]:
    """The ranges of `key`. Errors: InvalidArgument for too many, an empty one, or two that overlap on either side."""
    mappings = [Mapping(each) for each in section.sections(key)]
    if len(mappings) > MAX_MAPPINGS:
        raise InvalidArgument(f"{section.path(key)}: the kernel takes at most {MAX_MAPPINGS} ranges")
    check_overlap([(each.inside, each) for each in mappings], "containerID")
    check_overlap([(each.outside, each) for each in mappings], "hostID")
    return mappings


def check_overlap(starts: list[tuple[int, Mapping]], side: str) -> None:
    """Errors: InvalidArgument that names two ranges with an id in common."""
    starts.sort(key=lambda pair: pair[0])
    for (first, one), (second, other) in pairwise(starts):
        if first + one.size > second:
            raise InvalidArgument(f"{other.name}.{side}: the range overlaps that of {one.name}")


def map_text(mappings: list[Mapping]) -> str:
    """What uid_map and gid_map take."""
    return "".join(f"{inside} {outside} {size}\n" for inside, outside, size in map(triple_of, mappings))


def triple_of(mapping: Mapping) -> tuple[int, int, int]:
    """The three numbers."""
    return mapping.triple


def same_ids(text: str, mappings: list[Mapping]) -> bool:
    """Whether the text of a uid_map says the same as `mappings`."""
    lines = sorted(tuple(int(word) for word in line.split()) for line in text.splitlines())
    return lines == sorted(map(triple_of, mappings))


def write_map(pid: int, file: str, mappings: list[Mapping], field: str) -> None:
    """Give the user namespace of `pid` the ids of `file` (uid_map or gid_map), in the one write there may be."""
    try:
        write_file(f"/proc/{pid}/{file}", map_text(mappings))
    except OSError as error:
        text = os.strerror(error.errno or errno.EINVAL).lower()
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(
                f"{field}: the kernel refused the mappings: {text}",
                hint="every hostID must be an id of the namespace the runtime is in",
            ) from error
        raise InvalidArgument(f"{field}: the kernel refused the mappings: {text}") from error


def write_file(path: str, text: str) -> None:
    """One write to a kernel file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
