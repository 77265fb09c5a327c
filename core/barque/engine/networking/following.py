"""What follows from a change of networks, names or links: the name service, and the files in /etc of containers that run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.networking.choosing import way_out_first
from barque.engine.networking.links import LinkedHost, parse_link, running_links, without_link
from barque.engine.records import ContainerRecord, StoredContainer
from barque.shim.client import ShimClient
from barque.spi.errors import NotFound
from barque.spi.network import Endpoint
from barque.spi.trees.failures import reported

__all__ = ["Follower"]


class Follower:
    """Thread-safe: what concerns one container is done under its record's lock."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._networks = core.networks

    def changed(
        self, record: ContainerRecord, before: StoredContainer, endpoint: Endpoint, netns: int
    ) -> None:
        """A running container is in other networks than `before`: `endpoint` came or went. `netns` is its sandbox."""
        stored, naming = record.stored, self._networks.naming
        had = naming.applies(before.endpoints)
        with reported("telling the names of containers", "the run directory"):
            resolver = naming.resolves(stored.id, stored.config, stored.endpoints, had)
            naming.changed([endpoint])
        if resolver and not had:
            with ShimClient.connect(os.fspath(self._core.layout.container(stored.id))) as shim:
                shim.resolver(netns)
        self.refresh(record, resolver)

    def refresh(self, record: ContainerRecord, resolver: bool, gone: Sequence[LinkedHost] = ()) -> None:
        """Have the files in /etc of a running container tell of its networks and links as they are, and of those `gone` no more."""
        stored = record.stored
        endpoints = way_out_first(stored.endpoints)
        links = running_links(stored.config, self._networks.table, self._containers.find)
        hosts = [host for link in links for host in link.hosts]
        files = self._containers.views.etc_files(stored)
        files.refresh(stored.config, stored.hostname, endpoints, False, resolver, hosts, gone)

    def renamed(self, id: str) -> None:
        """A container has another name: that is its name in its networks, too."""
        stored = self._containers.stored(id)
        if stored is not None:
            self._networks.naming.changed(stored.endpoints.values())

    def relink(self, target: ContainerRecord) -> None:
        """A container has started: those that run and are linked to it learn its address."""
        for record in self._containers.records():
            names = {parse_link(text)[0] for text in record.stored.config.links}
            if not names.isdisjoint((target.id, target.name, target.id[:12])):
                with record.lock:
                    if record.running:
                        self.refresh(record, self._networks.naming.applies(record.stored.endpoints))

    def unlink(self, ref: str) -> None:
        """Remove the link `owner/alias`, at once also from a container that runs. Errors: NotFound."""
        owner, slash, alias = ref.removeprefix("/").partition("/")
        if not slash:
            raise NotFound(f"No such container: {ref}", hint="a link is written CONTAINER/ALIAS")
        record = self._containers.find(owner)
        with record.lock:
            before = record.stored.config
            config = without_link(before, alias)
            record.change(self._core.database, config=config)
            if record.running:
                links = running_links(before, self._networks.table, self._containers.find)
                gone = [host for link in links if link.alias == alias for host in link.hosts]
                self.refresh(record, self._networks.naming.applies(record.stored.endpoints), gone)
