"""Renaming a container: the name in the table and in the record, and what resolves it in its networks."""

from __future__ import annotations

from barque.engine import failpoints
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.records import ContainerRecord
from barque.spi.errors import Conflict, InvalidArgument, NotFound

__all__ = ["rename"]


def rename(core: Core, containers: ContainerService, record: ContainerRecord, name: str) -> None:
    """See `Engine.container_rename`. Done when the record is written: before that a crash leaves the old name."""
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    with record.lock:
        if record.removed:
            raise NotFound(f"No such container: {record.id}")
        old = record.name
        if name.removeprefix("/") == old:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        new = _reserved(containers, name, record.id)
        try:
            failpoints.hit("rename.reserved")
            record.change(core.database, name=new)
        except BaseException:
            containers.names.release(new, record.id)
            raise
        containers.names.release(old, record.id)
        core.renamed(record.id, old, new)
        core.publish(record.stored, "rename", oldName=f"/{old}")


def _reserved(containers: ContainerService, name: str, id: str) -> str:
    try:
        return containers.names.reserve(name, id)
    except (Conflict, InvalidArgument) as error:
        raise type(error)(f"Error when allocating new name: {error.message}", hint=error.hint) from None
