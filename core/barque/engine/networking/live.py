"""Which endpoints there are now, by network: so that no network goes while somebody is in it, or about to be."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from barque.spi.errors import NotFound
from barque.spi.network import Endpoint

__all__ = ["LiveEndpoints"]


class LiveEndpoints:
    """Thread-safe. An endpoint is here from before its attach until after its detach."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._closed: set[str] = set()

    def claim(self, endpoint: Endpoint) -> None:
        """One is about to be made: its ids are known. Errors: NotFound, where the network is being removed."""
        with self._lock:
            if endpoint.network_id in self._closed:
                raise NotFound(f"network {endpoint.network_id} not found", hint="it is being removed")
            self._endpoints.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint

    def settle(self, endpoint: Endpoint) -> None:
        """One that was claimed is complete, or has changed."""
        with self._lock:
            self._endpoints.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint

    def release(self, endpoint: Endpoint) -> None:
        """One is gone. Idempotent."""
        with self._lock:
            self._endpoints.get(endpoint.network_id, {}).pop(endpoint.id, None)

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """These are all there are (at the daemon's start)."""
        found: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            found.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint
        with self._lock:
            self._endpoints = found

    def of(self, network_id: str) -> tuple[Endpoint, ...]:
        """Those of a network, the oldest first."""
        with self._lock:
            return tuple(self._endpoints.get(network_id, {}).values())

    @contextmanager
    def closed(self, network_id: str) -> Iterator[tuple[Endpoint, ...]]:
        """Keep everybody from joining a network that has no endpoints; those that it has, otherwise, and nothing is kept."""
        with self._lock:
            endpoints = tuple(self._endpoints.get(network_id, {}).values())
            if not endpoints:
                self._closed.add(network_id)
        try:
            yield endpoints
        finally:
            with self._lock:
                self._closed.discard(network_id)
                if not endpoints:
                    self._endpoints.pop(network_id, None)
