"""Containers as frontends see them, and the files of the host that belong to each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from barque.engine.core import Core
from barque.engine.networking.etcfiles import EtcFiles
from barque.engine.records import ContainerRecord, StoredContainer
from barque.engine.volumes.attached import ContainerVolumes
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.frontend import Container
from barque.spi.log import LogCapability, LogSpec

__all__ = ["ContainerViews"]


class ContainerViews:
    """`find` looks a container up by id or name."""

    def __init__(self, core: Core, find: Callable[[str], ContainerRecord], volumes: ContainerVolumes) -> None:
        self._core, self._find, self._volumes = core, find, volumes

    def of(self, record: ContainerRecord) -> Container:
        """The container as it is now. Kept until something of it changes: a list of hundreds is asked for again and again."""
        stored, exec_ids = record.stored, self._core.exec_ids(record.id)
        seen = record.seen
        if seen is not None and seen[0] is stored and seen[1].exec_ids == exec_ids:
            return seen[1]
        view = self._view(stored, exec_ids)
        if not stored.config.network.startswith("container:"):  # whose files are another's, which may go
            record.seen = (stored, view)
        return view

    def _view(self, stored: StoredContainer, exec_ids: tuple[str, ...]) -> Container:
        files = self.etc_files(stored)
        return Container(
            id=stored.id,
            name=stored.name,
            created_ns=stored.created_ns,
            image_id=stored.image_id,
            config=replace(stored.config, hostname=stored.hostname),
            state=stored.state,
            path=stored.path,
            args=stored.args,
            platform=stored.platform,
            runtime=stored.runtime,
            storage=stored.storage,
            log_driver=stored.log_driver,
            log_path=self._log_path(stored),
            hostname_path=str(files.hostname),
            hosts_path=str(files.hosts),
            resolv_conf_path=str(files.resolv_conf),
            endpoints=stored.endpoints,
            exec_ids=exec_ids,
            restart_count=stored.restart_count,
            mounts=self._volumes.paths(stored.config) if stored.config.volumes else {},
        )

    def etc_files(self, stored: StoredContainer) -> EtcFiles:
        """The container's /etc files: those of another one when it shares that one's network."""
        mode, _, other = stored.config.network.partition(":")
        owner = stored.id
        if mode == "container" and other:
            with contextlib.suppress(NotFound, InvalidArgument):  # gone: its start says so
                owner = self._find(other).id
        return EtcFiles(self._core.layout.container(owner))

    def log_spec(self, stored: StoredContainer) -> LogSpec:
        """The log of a container, for its driver."""
        return LogSpec(stored.id, str(self._core.layout.container(stored.id) / "log"), stored.log_options)

    def _log_path(self, stored: StoredContainer) -> str:
        driver = self._core.drivers.log(stored.log_driver)
        return self.log_spec(stored).path if LogCapability.FILE in driver.capabilities else ""
