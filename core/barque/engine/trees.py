"""The files of containers, read and written as tars: cp and export."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from barque.engine.core import Core
from barque.engine.records import ContainerRecord
from barque.spi.content import PathStat
from barque.spi.errors import NotImplemented

__all__ = ["ContainerTrees"]


class ContainerTrees:
    """The files of containers, read and written as tars: cp and export."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def stat(self, record: ContainerRecord, path: str) -> PathStat:
        """See `ContentOperations.container_path`."""
        raise NotImplemented("not there yet")

    def read(
        self, record: ContainerRecord, path: str, begin: Callable[[PathStat], Callable[[bytes], object]]
    ) -> None:
        """See `ContentOperations.container_read`."""
        raise NotImplemented("not there yet")

    def write(
        self,
        record: ContainerRecord,
        path: str,
        source: Iterable[bytes],
        *,
        no_overwrite: bool,
        copy_owner: bool,
    ) -> None:
        """See `ContentOperations.container_write`."""
        raise NotImplemented("not there yet")

    def export(self, record: ContainerRecord, write: Callable[[bytes], object]) -> None:
        """See `ContentOperations.container_export`."""
        raise NotImplemented("not there yet")
