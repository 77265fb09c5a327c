"""`linux.memoryPolicy`: from which memory nodes a container's processes get pages (set_mempolicy(2))."""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.kernel.syscall_table import call
from barque_runtime_native.process.number_list import mask, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

# include/uapi/linux/mempolicy.h
MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
MAY_LACK_NODES = (*WITHOUT_NODES, "MPOL_PREFERRED")


class MemoryPolicy:
    """A mode with its flags, and nodes."""

    __slots__ = ("mode", "nodes", "number")

    def __init__(self, section: Section) -> None:
        number = section.choice("mode", MODES)
        if number is None:
            raise InvalidArgument(f"{section.path('mode')} is missing")
        self.mode = section.text("mode")
        self.nodes = parse(section.text("nodes"), section.path("nodes"))
        if self.nodes and self.mode in WITHOUT_NODES:
            raise InvalidArgument(f"{section.path('nodes')} must be empty with {self.mode}")
        if not self.nodes and self.mode not in MAY_LACK_NODES:
            raise InvalidArgument(f"{section.path('nodes')} must not be empty with {self.mode}")
        for word in section.texts("flags"):
            if word not in FLAGS:
                raise InvalidArgument(f"{section.path('flags')}: unknown flag {word!r}")
            number |= FLAGS[word]
        self.number = number

    def apply(self) -> None:
        """For this process and its descendants. Errors: FailedPrecondition that names the field."""
        try:
            set_mempolicy(self.number, mask(self.nodes))
        except OSError as error:
            raise FailedPrecondition(
                f"linux.memoryPolicy: the kernel refused {self.mode}: {(error.strerror or '').lower()}",
                hint="are the nodes online and in linux.resources.cpu.mems, and do the flags go together?",
            ) from error


def set_mempolicy(mode: int, nodes: bytes) -> None:
    """set_mempolicy(2); `nodes` is a bit mask. The kernel reads one bit less than it is told."""
    call("set_mempolicy", mode, nodes or None, len(nodes) * 8 + 1 if nodes else 0)
