"""Endpoints: making those of a starting container, one more for a running one, and taking them away."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from barque.engine.networking.choosing import Wanted, gateway, interfaces
from barque.engine.networking.links import Link
from barque.engine.networking.live import LiveEndpoints
from barque.engine.networking.realising import Realiser
from barque.engine.networking.sandboxes import SandboxPool
from barque.engine.networking.stored import NetworkTable, StoredNetwork
from barque.plugins.facades import NetworkDriver
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, NotImplemented, PermissionDenied
from barque.spi.network import Attachment, Endpoint, EndpointSpec, NetworkCapability, PortBinding

__all__ = ["Attacher", "Connection"]

_log = logging.getLogger(__name__)
_IN_USE = "Address already in use"


@dataclass(frozen=True, slots=True)
class Connection:
    """How a container is connected: `mode` as `SpecInputs.network`, its endpoints by network name, the sandbox (owned by the holder).
    `resolver`: it is in a network with names. `links`: the containers of the default network that it has names for."""

    mode: str
    endpoints: Mapping[str, Endpoint]
    netns: int | None
    resolver: bool = False
    links: tuple[Link, ...] = ()


class Attacher:
    """Thread-safe. `name_of` gives the name of a container, for messages."""

    def __init__(
        self,
        table: NetworkTable,
        realiser: Realiser,
        live: LiveEndpoints,
        sandboxes: SandboxPool,
        name_of: Callable[[str], str],
    ) -> None:
        self._table, self._realiser, self._live, self._sandboxes = table, realiser, live, sandboxes
        self._name_of = name_of

    def attach_all(
        self, container_id: str, wanted: Sequence[Wanted], ports: tuple[PortBinding, ...]
    ) -> Connection:
        """All endpoints of a starting container, in this order. On an error nothing is left."""
        way_out = gateway(wanted) if len(wanted) > 1 else wanted[0]
        names = interfaces(wanted)
        sandbox: int | None = None
        endpoints: dict[str, Endpoint] = {}
        with contextlib.ExitStack() as undo:
            for one, interface in zip(wanted, names, strict=True):
                leads = one is way_out
                claimed = self._claim(container_id, one.network)
                undo.callback(self._live.release, claimed)
                driver, spec = self._spec(claimed, one, interface, leads, ports if leads else ())
                if len(wanted) > 1:
                    _require_connect(driver)
                shared = NetworkCapability.HOST_NAMESPACE in driver.capabilities
                own = shared or NetworkCapability.OWN_SANDBOX in driver.capabilities
                if sandbox is None and not own:
                    sandbox = self._sandboxes.take()
                    undo.callback(os.close, sandbox)
                attachment = self._attach(driver, spec, sandbox)
                endpoints[one.network.name] = attachment.endpoint
                undo.callback(self.detach, attachment.endpoint)
                if attachment.netns is not None:
                    sandbox = attachment.netns
                    undo.callback(os.close, sandbox)
                if shared:
                    undo.pop_all()
                    return Connection("host", endpoints, None)
            undo.pop_all()
        return Connection("sandbox", endpoints, sandbox)

    def attach_one(self, container_id: str, one: Wanted, interface: str, netns: int) -> Endpoint:
        """One more endpoint in the sandbox of a container that runs; it is not its way out. On an error nothing is left."""
        claimed = self._claim(container_id, one.network)
        with contextlib.ExitStack() as undo:
            undo.callback(self._live.release, claimed)
            driver, spec = self._spec(claimed, one, interface, False, ())
            _require_connect(driver)
            endpoint = self._attach(driver, spec, netns).endpoint
            undo.pop_all()
        return endpoint

    def route(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """Make a live endpoint the way out, with these ports, or no longer; it as it is then."""
        network = self._table.get(endpoint.network_id)
        if network is None:
            return endpoint
        driver = self._realiser.driver(network)
        if NetworkCapability.PORTS not in driver.capabilities:
            ports = ()
        try:
            changed = driver.update(endpoint, netns, default_route, ports)
        except BarqueError as error:
            raise self._told(error, endpoint) from error
        self._live.settle(changed)
        return changed

    def detach(self, endpoint: Endpoint, netns: int | None = None) -> None:
        """Take one endpoint away; `netns` as in `NetworkHooks.network_detach`. Idempotent."""
        network = self._table.get(endpoint.network_id)
        if network is None:
            self._live.release(endpoint)
            return
        try:
            self._realiser.driver(network).detach(endpoint, netns)
        except InvalidArgument as error:  # its driver is not in this profile: a daemon that has it will sweep
            _log.warning("network %s: %s", network.name, error)
        self._live.release(endpoint)

    def _claim(self, container_id: str, network: StoredNetwork) -> Endpoint:
        """A new endpoint's ids. Before the driver is asked for anything: from now on the network stays, and one that somebody has
        removed meanwhile is not made again. Errors: NotFound."""
        claimed = Endpoint(secrets.token_hex(32), network.id, container_id)
        self._live.claim(claimed)
        if self._table.get(network.id) is None:
            self._live.release(claimed)
            raise NotFound(f"network {network.name} not found")
        return claimed

    def _attach(self, driver: NetworkDriver, spec: EndpointSpec, netns: int | None) -> Attachment:
        try:
            attachment = driver.attach(spec, netns)
        except BarqueError as error:
            raise self._told(error, Endpoint(spec.id, spec.network.id, spec.container_id)) from error
        self._live.settle(attachment.endpoint)
        return attachment

    def _told(self, error: BarqueError, endpoint: Endpoint) -> BarqueError:
        """A driver's error in Docker's words: with the container's name, and 403 for an address that somebody has."""
        if error.message.startswith(_IN_USE):
            return PermissionDenied(_IN_USE)  # clients compare Docker's words
        name = self._name_of(endpoint.container_id)
        message = error.message.replace(f"endpoint {endpoint.id}", f"endpoint {name} ({endpoint.id})")
        return type(error)(message, hint=error.hint, exit_code=error.exit_code)

    def _spec(
        self,
        claimed: Endpoint,
        one: Wanted,
        interface: str,
        default_route: bool,
        ports: tuple[PortBinding, ...],
    ) -> tuple[NetworkDriver, EndpointSpec]:
        driver, network = self._realiser.realise(one.network)
        shared = NetworkCapability.HOST_NAMESPACE in driver.capabilities
        if not shared and NetworkCapability.PORTS not in driver.capabilities:
            ports = ()  # Docker accepts and ignores published ports on `none`
        config = one.config
        spec = EndpointSpec(
            id=claimed.id,
            network=network.spec,
            container_id=claimed.container_id,
            interface=interface,
            mac=config.mac,
            ipv4=config.ipv4,
            ipv6=config.ipv6,
            link_local=config.link_local,
            options=config.options,
            ports=ports,
            default_route=default_route,
        )
        return driver, spec


def _require_connect(driver: NetworkDriver) -> None:
    if NetworkCapability.CONNECT not in driver.capabilities:
        raise NotImplemented(
            f"{driver.loaded.label} cannot connect a container to several networks",
            hint="use one network for this container",
        )
