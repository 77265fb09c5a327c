"""The job of a worker that compares an unpacked layer with its tar. Descriptors: the blob, the layer's directory, a pipe that
takes the differences, one a line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.trees.compare import Comparer
from barque.spi.trees.compression import pieces
from barque.spi.trees.expected import Expectation
from barque.spi.trees.failures import reported
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.reader import TarReader
from barque.spi.trees.stream import LayerStream
from barque.spi.trees.worker import serve

__all__ = ["main", "run", "verify"]

_MAX_LINES = 100


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`verify` by JSON; the lines go to the last descriptor."""
    blob_fd, root_fd, out_fd = descriptors
    lines = verify(Unpack(**job), blob_fd, root_fd)
    rest = memoryview("".join(f"{line}\n" for line in lines).encode())
    while rest:
        rest = rest[os.write(out_fd, rest) :]
    return {}


def verify(job: Unpack, blob_fd: int, root_fd: int) -> list[str]:
    """What differs, a line each, a hundred at most. Errors: InvalidArgument (the tar is damaged or another layer's)."""
    expectation = Expectation(job.whiteouts, user_namespace=job.user_namespace, one_owner=job.one_owner)
    with LayerStream(pieces(blob_fd, job.media_type), job.max_bytes) as stream:
        expectation.run(TarReader(stream.next_piece, job.max_entries))
        found = stream.digest()
    if found != job.diff_id:
        raise InvalidArgument(f"wrong diff id: the layer should be {job.diff_id}, its content is {found}")
    with reported(f"verifying {job.diff_id}", job.place):
        comparer = Comparer(root_fd, job.whiteouts, user_namespace=job.user_namespace, most=_MAX_LINES)
        return comparer.run(expectation.root)
