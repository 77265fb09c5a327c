"""Networks on the host: their drivers, made when first needed, made to agree with what is stored, taken away."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from barque.engine.drivers import Drivers
from barque.engine.networking.stored import NetworkTable, StoredNetwork
from barque.plugins.facades import NetworkDriver
from barque.spi.errors import FailedPrecondition, PermissionDenied
from barque.spi.network import Endpoint

if TYPE_CHECKING:
    from barque.engine.rootless.entering import Keeper

__all__ = ["Realiser"]

_log = logging.getLogger(__name__)


class Realiser:
    """Thread-safe. `keeper`: of the namespaces of a rootless engine, which has the host's ports."""

    def __init__(self, drivers: Drivers, table: NetworkTable, keeper: Keeper | None) -> None:
        self._drivers, self._table, self._keeper = drivers, table, keeper
        self._lock = threading.Lock()
        self._realised: set[str] = set()

    def driver(self, network: StoredNetwork) -> NetworkDriver:
        """The driver of a network. Errors: InvalidArgument, when the profile has it no more; PermissionDenied."""
        if network.placeholder:
            raise PermissionDenied(
                f"network {network.name} is a configuration-only network: containers cannot be connected to it"
            )
        return self.driver_named(network.driver)

    def driver_named(self, name: str) -> NetworkDriver:
        """The driver of an instance in the profile. Errors: InvalidArgument."""
        driver = self._drivers.network(name)
        if self._keeper is None:
            return driver
        from barque.engine.rootless.publishing import PublishingNetwork

        return PublishingNetwork(driver, self._keeper)

    def realise(self, network: StoredNetwork) -> tuple[NetworkDriver, StoredNetwork]:
        """Make the network exist on the host, once a daemon. Returns it complete, with its driver."""
        driver = self.driver(network)
        if network.id not in self._realised:
            with self._lock:
                if network.id not in self._realised:
                    complete = driver.create(network.spec)
                    if complete != network.spec:
                        self._table.put(replace(network, spec=complete))
                    self._realised.add(network.id)
        return driver, self._table.get(network.id) or network

    def make(self, network: StoredNetwork) -> StoredNetwork:
        """A new network on the host, complete; nobody knows of it yet. On an error nothing is left."""
        driver = self.driver(network)
        with self._lock:
            complete = driver.create(network.spec)
            self._realised.add(network.id)
        return replace(network, spec=complete)

    def unmake(self, network: StoredNetwork) -> None:
        """Take a network without endpoints from the host. Idempotent."""
        if network.placeholder:
            return
        driver = self.driver(network)
        with self._lock:
            self._realised.discard(network.id)
            driver.remove(network.spec)

    def restore(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Make each driver agree: the networks of the table and these endpoints exist, and no others. One network that cannot be had
        (its interface on the host is gone, say) does not keep the others away."""
        for network in self._table.unfinished:
            self.unmake(network)
            self._table.delete(network)
        self._table.unfinished = ()
        networks = [network for network in self._table.all() if not network.placeholder]
        for name in self._drivers.names("network"):
            mine = [network for network in networks if network.driver == name]
            if not mine:
                continue
            made = {one.id: one.spec for one in map(self._restored, mine) if one is not None}
            there = tuple(endpoint for endpoint in endpoints if endpoint.network_id in made)
            self.driver_named(name).restore(tuple(made.values()), there)

    def _restored(self, network: StoredNetwork) -> StoredNetwork | None:
        if network.name in self._table.predefined:
            return self.realise(network)[1]
        try:
            return self.realise(network)[1]
        except FailedPrecondition as error:
            _log.error("network %s: %s", network.name, error)
            return None

    def close(self, in_use: bool) -> None:
        """End the drivers that were used. Unless `in_use`, also undo the networks on the host (the next daemon makes them again)."""
        drivers: dict[str, NetworkDriver] = {}
        for network in self._table.all():
            if network.id in self._realised:
                driver = drivers.setdefault(network.driver, self.driver(network))
                if not in_use:
                    driver.remove(network.spec)
        for driver in drivers.values():
            driver.close()
