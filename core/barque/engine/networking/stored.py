"""A network as the engine keeps it, and the table of those there are: durable, looked up by id, name and prefix."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from barque.spi.errors import AlreadyExists, InvalidArgument, NotFound
from barque.spi.network import NetworkSpec
from barque.store.database import Database, Transaction

__all__ = ["NetworkTable", "StoredNetwork"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """What the database keeps. `driver` is the instance in the profile. `configured`: the subnets (CIDR) that the user asked for, in
    which he may choose addresses; the spec has also those that the driver chose. `placeholder`: settings without a network.
    `unfinished`: its driver is about to make it; a daemon that finds this takes away what there is of it."""

    spec: NetworkSpec
    driver: str
    created_ns: int
    configured: tuple[str, ...] = ()
    placeholder: bool = False
    unfinished: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def name(self) -> str:
        return self.spec.name


_adapter: TypeAdapter[StoredNetwork] = TypeAdapter(StoredNetwork)


class NetworkTable:
    """Thread-safe. `predefined` are the names of the profile's own networks, `default` one of them."""

    def __init__(self, database: Database, predefined: tuple[str, ...], default: str) -> None:
        self.predefined, self.default = frozenset(predefined), default
        self._order = predefined
        self._database = database
        self._lock = threading.Lock()
        self._networks: dict[str, StoredNetwork] = {}
        self._ids: dict[str, str] = {}
        self.unfinished: tuple[StoredNetwork, ...] = ()

    def load(self) -> None:
        """Read what is stored, and add the profile's own networks that are not. `unfinished` are those that a crash left so."""
        for id, document in self._database.all("networks"):
            try:
                network = _adapter.validate_json(document)
            except ValueError as error:
                _log.error("network %s: its record is damaged and it is left out: %s", id, error)
                continue
            if network.unfinished:
                self.unfinished = (*self.unfinished, network)
            else:
                self._keep(network)
        for name in self._order:
            if name not in self._ids:
                self.put(StoredNetwork(NetworkSpec(secrets.token_hex(32), name), name, time.time_ns()))

    def all(self) -> tuple[StoredNetwork, ...]:
        """All of them, the oldest first."""
        with self._lock:
            return tuple(sorted(self._networks.values(), key=lambda n: n.created_ns))

    def get(self, id: str) -> StoredNetwork | None:
        """The network with this id, or None."""
        return self._networks.get(id)

    def find(self, ref: str) -> StoredNetwork:
        """By id, name or unique prefix of an id; "" and `default` are the profile's. Errors: NotFound, InvalidArgument."""
        name = self.default if ref in ("", "default") else ref
        with self._lock:
            found = self._networks.get(name) or self._networks.get(self._ids.get(name, ""))
            if found is not None:
                return found
            matches = [network for id, network in self._networks.items() if id.startswith(name)]
        if len(matches) > 1:
            raise InvalidArgument(
                f"network {name} is ambiguous ({len(matches)} matches found based on ID prefix)"
            )
        if not matches:
            raise NotFound(
                f"network {name} not found", hint="`docker network ls` shows the networks there are"
            )
        return matches[0]

    def user_defined(self, network_id: str) -> bool:
        """Whether it is one that a user made: there, containers have names."""
        network = self._networks.get(network_id)
        return network is not None and network.name not in self.predefined

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Nobody else makes a network of this name meanwhile. Errors: AlreadyExists."""
        with self._lock:
            if name in self._ids:
                raise AlreadyExists(f"network with name {name} already exists")
            self._ids[name] = ""
        try:
            yield
        finally:
            with self._lock:
                if not self._ids.get(name):
                    self._ids.pop(name, None)

    def put(self, network: StoredNetwork) -> None:
        """Add or replace one, durable first."""
        self._database.put("networks", network.id, _adapter.dump_json(network).decode())
        self._keep(network)

    def intend(self, network: StoredNetwork) -> None:
        """Note durably that one is about to be made. `put` or `delete` must follow."""
        document = _adapter.dump_json(replace(network, unfinished=True)).decode()
        self._database.put("networks", network.id, document)

    def delete(self, network: StoredNetwork, beside: Callable[[Transaction], None] = lambda _: None) -> None:
        """Remove one, durable first, in one transaction with what `beside` does."""

        def work(change: Transaction) -> None:
            change.delete("networks", network.id)
            beside(change)

        self._database.freeing(work)
        with self._lock:
            self._networks.pop(network.id, None)
            if self._ids.get(network.name) == network.id:
                del self._ids[network.name]

    def _keep(self, network: StoredNetwork) -> None:
        with self._lock:
            self._networks[network.id] = network
            self._ids[network.name] = network.id
