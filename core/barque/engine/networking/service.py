"""Networks and endpoints: what the profile's network drivers know, kept durably by the engine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.networking.attaching import Attacher, Connection
from barque.engine.networking.checking import check_endpoint, check_mode, is_container_mode
from barque.engine.networking.choosing import Wanted
from barque.engine.networking.live import LiveEndpoints
from barque.engine.networking.naming import Naming
from barque.engine.networking.realising import Realiser
from barque.engine.networking.resolving import NameService
from barque.engine.networking.sandboxes import SandboxPool
from barque.engine.networking.stored import NetworkTable, StoredNetwork
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, Unavailable
from barque.spi.frontend import ContainerConfig, EndpointConfig, Network
from barque.spi.network import Endpoint, NetworkCapability, NetworkSpec, PortBinding
from barque.spi.trees.failures import reported
from barque.store.database import Database

if TYPE_CHECKING:
    from barque.engine.rootless.entering import Keeper

__all__ = ["Connection", "NetworkService"]

_log = logging.getLogger(__name__)
_RESTORE_SECONDS = 60.0


class NetworkService:
    """The networks of the engine: those of the profile, called like their drivers, and those that users made.

    `table` has them, `realiser` their drivers, `live` the endpoints of now, `attacher` makes and takes endpoints."""

    def __init__(
        self,
        drivers: Drivers,
        database: Database,
        sandboxes: SandboxPool,
        events: EventBus,
        names: NameService,
        keeper: Keeper | None = None,
    ) -> None:
        """`keeper`: of the namespaces of a rootless engine, which has the host's ports."""
        section = drivers.profile.network
        self._drivers, self._sandboxes, self._events = drivers, sandboxes, events
        self.table = NetworkTable(database, section.predefined, section.default)
        self.realiser = Realiser(drivers, self.table, keeper)
        self.live = LiveEndpoints()
        self.naming = Naming(self.table, self.live, names)
        self.attacher = Attacher(self.table, self.realiser, self.live, sandboxes, self.naming.name_of)
        self._agreed = threading.Event()
        self._agreed.set()
        self._restoring = threading.Lock()

    def load(self) -> None:
        """Read what is stored and add the profile's own networks. Cheap: no driver is imported. `restore` must follow:
        until then nobody is connected, for ports may be held by endpoints of nobody, and a new one could be taken for such."""
        self._agreed.clear()
        self.table.load()

    def adopt(self, endpoints: tuple[Endpoint, ...]) -> None:
        """After `load`: the endpoints that there were when the last daemon ended. Cheap."""
        self.live.replace(endpoints)

    def restore(self, endpoints: Callable[[], tuple[Endpoint, ...]]) -> None:
        """Make the drivers agree with what is stored: after a crash, links and rules of nobody go. `endpoints` reads those
        of all containers."""
        try:
            with self._restoring:
                found = endpoints()
                self.live.replace(found)
                self.realiser.restore(found)
                self.naming.restore()
        finally:
            self._agreed.set()

    def settled(self) -> None:
        """Wait for the restore. Errors: Unavailable, when it takes too long."""
        if not self._agreed.wait(_RESTORE_SECONDS):
            raise Unavailable(
                "the networks are still being restored", hint="try again; the daemon's log may say why"
            )

    def close(self, in_use: bool) -> None:
        """Stop the drivers that were used, drop prepared sandboxes. With no container left that needs them, also undo the
        networks on the host (the next daemon makes them again): a daemon that was stopped leaves a clean machine."""
        self._sandboxes.close()
        self.realiser.close(in_use)

    def default_name(self) -> str:
        """The network a container gets when it asks for none."""
        return self.table.default

    def find(self, ref: str) -> NetworkSpec:
        """By name, id or unique prefix of an id; `default` is the profile's. Errors: NotFound."""
        return self.table.find(ref).spec

    def all(self) -> tuple[Network, ...]:
        """All networks, the oldest first."""
        return tuple(self.view(network) for network in self.table.all())

    def get(self, ref: str) -> Network:
        """One network. Errors: NotFound."""
        return self.view(self.table.find(ref))

    def publishes(self, ref: str) -> bool:
        """Whether the network's driver publishes ports; True for one that does not exist, which its start will tell."""
        try:
            return NetworkCapability.PORTS in self.realiser.driver(self.table.find(ref)).capabilities
        except (NotFound, InvalidArgument):
            return True

    def checked(self, asked: ContainerConfig, config: ContainerConfig) -> ContainerConfig:
        """The configuration of a new container, its networks by name where they are known yet. `asked` is it without what the image
        gives. Errors: InvalidArgument."""
        check_mode(asked)
        self.naming.linked = self.naming.linked or bool(config.links)
        if not config.networks and config.network in ("", "default", self.table.default):
            return config
        named = {}
        for ref, endpoint in config.networks.items():
            network = self._known(ref)
            name = network.name if network else ref
            try:
                check_endpoint(network, name in self.table.predefined, endpoint)
            except InvalidArgument as error:
                raise InvalidArgument(f"invalid config for network {name}: {error.message}") from None
            named[name] = endpoint
        if not named and not is_container_mode(config.network):
            network = self._known(config.network)
            if network is not None and network.name not in self.table.predefined:
                named[network.name] = EndpointConfig()
        return replace(config, networks=named)

    def wanted(self, config: ContainerConfig) -> list[Wanted]:
        """The networks a container is to be in, in the order of its interfaces: the default one first, then that of its mode, then as
        they came. Errors: NotFound."""
        if not config.networks:
            return [Wanted(self.table.find(config.network), EndpointConfig())]
        found = [Wanted(self.table.find(ref), endpoint) for ref, endpoint in config.networks.items()]
        for one in found:
            check_endpoint(one.network, one.network.name in self.table.predefined, one.config)
        first = (self.table.default, config.network)
        return sorted(
            found, key=lambda one: first.index(one.network.name) if one.network.name in first else 2
        )

    def connect(
        self, container_id: str, config: ContainerConfig, ports: tuple[PortBinding, ...]
    ) -> Connection:
        """Attach a starting container to its networks. On error nothing is left. Errors: NotFound, Conflict …"""
        self.settled()
        try:
            wanted = self.wanted(config)
            connection = self.attacher.attach_all(container_id, wanted, ports)
        except BarqueError as error:
            message = f"failed to set up container networking: {error.message}"
            raise type(error)(message, hint=error.hint, exit_code=error.exit_code) from error
        for one in wanted:
            self.publish(one.network, "connect", container_id)
        if not self.naming.applies(connection.endpoints):
            return connection
        try:
            with reported("telling the names of containers", "the run directory"):
                self.naming.resolves(container_id, config, connection.endpoints)
                self.naming.changed(connection.endpoints.values())
        except BaseException:
            self.disconnect(connection.endpoints)
            if connection.netns is not None:
                os.close(connection.netns)
            raise
        return replace(connection, resolver=True)

    def disconnect(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Detach all endpoints of a container that ended. Idempotent."""
        if not self._agreed.is_set():
            with self._restoring:
                pass  # a restore under way may be about to make again what is to go; one that is to come reads the records
        for endpoint in endpoints.values():
            self.attacher.detach(endpoint)
        try:
            self.naming.changed(endpoints.values())
        except (
            OSError
        ) as error:  # it has ended all the same; the next change of these networks tells it again
            _log.error("the names of networks cannot be written: %s", error)
        for endpoint in endpoints.values():
            network = self.table.get(endpoint.network_id)
            if network is not None:
                self.publish(network, "disconnect", endpoint.container_id)

    def publish(self, network: StoredNetwork, action: str, container_id: str = "") -> None:
        """An event of a network, with Docker's attributes."""
        attributes = {"container": container_id} if container_id else {}
        attributes |= {"name": network.name, "type": self._shown_driver(network)}
        self._events.publish("network", action, network.id, attributes)

    def view(self, network: StoredNetwork) -> Network:
        """As a frontend sees it."""
        return Network(
            spec=network.spec,
            driver=self._shown_driver(network),
            created_ns=network.created_ns,
            endpoints={one.container_id: one for one in self.live.of(network.id)},
            predefined=network.name in self.table.predefined,
            placeholder=network.placeholder,
            document=network.document,
        )

    def _shown_driver(self, network: StoredNetwork) -> str:
        """The entry-point name of its driver; Docker's name of `none`."""
        known = network.driver in self._drivers.names("network")
        driver = self._drivers.driver_of("network", network.driver) if known else network.driver
        return "null" if driver == "none" or network.placeholder else driver

    def _known(self, ref: str) -> StoredNetwork | None:
        try:
            return self.table.find(ref)
        except NotFound:
            return None
