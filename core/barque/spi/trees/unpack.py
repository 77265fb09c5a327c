"""The job of a worker that unpacks one layer. Descriptors: the blob, the directory to fill, one for what gets replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.storage import Usage
from barque.spi.trees import tree
from barque.spi.trees.compression import pieces
from barque.spi.trees.extract import Extractor, Limits
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.reader import TarReader
from barque.spi.trees.stream import LayerStream
from barque.spi.trees.worker import serve

__all__ = ["main", "run", "unpack"]


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`unpack` by JSON."""
    usage = unpack(Unpack(**job), *descriptors)
    return {"bytes": usage.bytes, "inodes": usage.inodes}


def unpack(job: Unpack, blob_fd: int, root_fd: int, scratch_fd: int) -> Usage:
    """Unpack the layer in `blob_fd` into `root_fd` and verify its diff id. Errors: as `storage_apply`."""
    limits = Limits(max_entries=job.max_entries, max_bytes=job.max_bytes)
    extractor = Extractor(
        root_fd,
        scratch_fd,
        job.user_namespace,
        limits,
        job.place,
        one_owner=job.one_owner,
        whiteouts=job.whiteouts,
    )
    with LayerStream(pieces(blob_fd, job.media_type), limits.max_bytes) as stream:
        extractor.run(TarReader(stream.next_piece, limits.max_entries))
        found = stream.digest()
    if found != job.diff_id:
        raise InvalidArgument(f"wrong diff id: the layer should be {job.diff_id}, its content is {found}")
    return tree.measure(root_fd) if extractor.replaced else Usage(extractor.bytes, extractor.inodes)
