"""Asking the shim of a container that runs, and may end while it is asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from barque.engine.core import Core
from barque.engine.records import ContainerRecord
from barque.shim.client import ShimClient, ShimEnded
from barque.spi.errors import Conflict, NotFound

__all__ = ["running_shim"]


@contextlib.contextmanager
def running_shim(core: Core, record: ContainerRecord) -> Iterator[ShimClient]:
    """A connection to the container's shim. Errors: Conflict where it ends in this moment; what `ShimClient` raises."""
    try:
        shim = ShimClient.connect(os.fspath(core.layout.container(record.id)))
    except NotFound:
        raise _ended(record) from None
    with shim:
        try:
            yield shim
        except ShimEnded:
            raise _ended(record) from None


def _ended(record: ContainerRecord) -> Conflict:
    return Conflict(f"container {record.id} is not running")
