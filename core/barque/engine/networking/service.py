"""Networks and endpoints: what the profile's network drivers know, kept durably by the engine."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from barque.engine.drivers import Drivers
from barque.engine.networking.sandboxes import SandboxPool
from barque.plugins.facades import NetworkDriver
from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.spi.frontend import ContainerConfig, EndpointConfig, Network
from barque.spi.network import Endpoint, EndpointSpec, NetworkCapability, NetworkSpec, PortBinding
from barque.store.database import Database

if TYPE_CHECKING:
    from barque.engine.rootless.entering import Keeper

__all__ = ["Connection", "NetworkService"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _StoredNetwork:
    spec: NetworkSpec
    driver: str
    created_ns: int


_adapter: TypeAdapter[_StoredNetwork] = TypeAdapter(_StoredNetwork)


_RESTORE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Connection:
    """How a container is connected: `mode` as `SpecInputs.network`, its endpoints by network name, the sandbox (owned by the holder)."""

    mode: str
    endpoints: Mapping[str, Endpoint]
    netns: int | None


class NetworkService:
    """The networks of the profile: one default network for each network driver, called like it."""

    def __init__(
        self, drivers: Drivers, database: Database, sandboxes: SandboxPool, keeper: Keeper | None = None
    ) -> None:
        """`keeper`: of the namespaces of a rootless engine, which has the host's ports."""
        self._drivers, self._database, self._sandboxes = drivers, database, sandboxes
        self._keeper = keeper
        self._lock = threading.Lock()
        self._networks: dict[str, _StoredNetwork] = {}
        self._realised: set[str] = set()
        self._agreed = threading.Event()
        self._agreed.set()
        self._restoring = threading.Lock()

    def load(self) -> None:
        """Read what is stored and add the profile's own networks. Cheap: no driver is imported. `restore` must follow:
        until then nobody is connected, for ports may be held by endpoints of nobody, and a new one could be taken for such."""
        self._agreed.clear()
        for id, document in self._database.all("networks"):
            try:
                self._networks[id] = _adapter.validate_json(document)
            except ValueError as error:
                _log.error("network %s: its record is damaged and it is left out: %s", id, error)
        names = {n.spec.name for n in self._networks.values()}
        for name in self._drivers.profile.network.predefined:
            if name not in names:
                self._store(_StoredNetwork(NetworkSpec(secrets.token_hex(32), name), name, time.time_ns()))

    def restore(self, endpoints: Callable[[], tuple[Endpoint, ...]]) -> None:
        """Make the drivers agree with what is stored: after a crash, links and rules of nobody go. `endpoints` reads those
        of all containers."""
        try:
            with self._restoring:
                self._restore(endpoints())
        finally:
            self._agreed.set()

    def _restore(self, endpoints: tuple[Endpoint, ...]) -> None:
        for name in self._drivers.names("network"):
            mine = [n for n in self._networks.values() if n.driver == name]
            for network in mine:
                self._realise(network)
            ids = {n.spec.id for n in mine}
            specs = tuple(self._networks[id].spec for id in ids)
            self._driver_named(name).restore(specs, tuple(e for e in endpoints if e.network_id in ids))

    def close(self, in_use: bool) -> None:
        """Stop the drivers that were used, drop prepared sandboxes. With no container left that needs them, also undo the
        networks on the host (the next daemon makes them again): a daemon that was stopped leaves a clean machine."""
        self._sandboxes.close()
        for id in tuple(self._realised):
            network = self._networks[id]
            if not in_use:
                self._driver(network).remove(network.spec)
            self._driver(network).close()

    def default_name(self) -> str:
        """The network a container gets when it asks for none."""
        return self._drivers.profile.network.default

    def find(self, ref: str) -> NetworkSpec:
        """By name, id or unique prefix of an id; `default` is the profile's. Errors: NotFound."""
        return self._find(ref).spec

    def all(self, endpoints: Mapping[str, Mapping[str, Endpoint]]) -> tuple[Network, ...]:
        """All networks; `endpoints` is container id -> network name -> endpoint."""
        return tuple(
            self._view(n, endpoints) for n in sorted(self._networks.values(), key=lambda n: n.created_ns)
        )

    def get(self, ref: str, endpoints: Mapping[str, Mapping[str, Endpoint]]) -> Network:
        """One network. Errors: NotFound."""
        return self._view(self._find(ref), endpoints)

    def publishes(self, ref: str) -> bool:
        """Whether the network's driver publishes ports; True for one that does not exist, which its start will tell."""
        try:
            return NetworkCapability.PORTS in self._driver(self._find(ref)).capabilities
        except (NotFound, InvalidArgument):
            return True

    def connect(
        self, container_id: str, config: ContainerConfig, ports: tuple[PortBinding, ...]
    ) -> Connection:
        """Attach a starting container to its network. On error nothing is left. Errors: NotFound, Conflict …"""
        if not self._agreed.wait(_RESTORE_SECONDS):
            raise Unavailable(
                "the networks are still being restored", hint="try again; the daemon's log may say why"
            )
        network = self._find(config.network)
        driver = self._realise(network)
        wanted = config.networks.get(config.network, EndpointConfig())
        spec = EndpointSpec(
            id=secrets.token_hex(32),
            network=self._networks[network.spec.id].spec,
            container_id=container_id,
            mac=wanted.mac,
            ipv4=wanted.ipv4,
            ports=ports,
        )
        if NetworkCapability.HOST_NAMESPACE in driver.capabilities:
            return Connection("host", {network.spec.name: driver.attach(spec, None).endpoint}, None)
        if ports and NetworkCapability.PORTS not in driver.capabilities:
            spec = _without_ports(spec)
        own = NetworkCapability.OWN_SANDBOX in driver.capabilities
        netns = None if own else self._sandboxes.take()
        try:
            attachment = driver.attach(spec, netns)
        except BaseException:
            if netns is not None:
                os.close(netns)
            raise
        sandbox = attachment.netns if attachment.netns is not None else netns
        return Connection("sandbox", {network.spec.name: attachment.endpoint}, sandbox)

    def disconnect(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Detach all endpoints of a container that ended. Idempotent."""
        if not self._agreed.is_set():
            with self._restoring:
                pass  # a restore under way may be about to make again what is to go; one that is to come reads the records
        for endpoint in endpoints.values():
            network = self._networks.get(endpoint.network_id)
            if network is None:
                continue
            try:
                self._driver(network).detach(endpoint)
            except (
                InvalidArgument
            ) as error:  # its driver is not in this profile: a daemon that has it will sweep
                _log.warning("network %s: %s", network.spec.name, error)

    def _find(self, ref: str) -> _StoredNetwork:
        name = self.default_name() if ref in ("", "default") else ref
        for network in self._networks.values():
            if name in (network.spec.name, network.spec.id):
                return network
        matches = [n for n in self._networks.values() if n.spec.id.startswith(name)]
        if len(matches) > 1:
            raise InvalidArgument(f"network {name} is ambiguous ({len(matches)} matches found on ID prefix)")
        if not matches:
            raise NotFound(
                f"network {name} not found", hint="`docker network ls` shows the networks there are"
            )
        return matches[0]

    def _driver(self, network: _StoredNetwork) -> NetworkDriver:
        return self._driver_named(network.driver)

    def _driver_named(self, name: str) -> NetworkDriver:
        driver = self._drivers.network(name)
        if self._keeper is None:
            return driver
        from barque.engine.rootless.publishing import PublishingNetwork

        return PublishingNetwork(driver, self._keeper)

    def _realise(self, network: _StoredNetwork) -> NetworkDriver:
        """Make the network exist on the host, once a daemon."""
        driver = self._driver(network)
        with self._lock:
            if network.spec.id not in self._realised:
                complete = driver.create(network.spec)
                if complete != network.spec:
                    self._store(_StoredNetwork(complete, network.driver, network.created_ns))
                self._realised.add(network.spec.id)
        return driver

    def _store(self, network: _StoredNetwork) -> None:
        self._database.put("networks", network.spec.id, _adapter.dump_json(network).decode())
        self._networks[network.spec.id] = network

    def _view(self, network: _StoredNetwork, endpoints: Mapping[str, Mapping[str, Endpoint]]) -> Network:
        mine = {cid: by[network.spec.name] for cid, by in endpoints.items() if network.spec.name in by}
        known = network.driver in self._drivers.names("network")
        driver = self._drivers.driver_of("network", network.driver) if known else network.driver
        return Network(network.spec, "null" if driver == "none" else driver, network.created_ns, mine)


def _without_ports(spec: EndpointSpec) -> EndpointSpec:
    """Docker accepts and ignores published ports on `none`."""
    return EndpointSpec(
        spec.id, spec.network, spec.container_id, spec.interface, spec.mac, spec.ipv4, spec.ipv6
    )
