"""Published ports of a rootless engine, for any network driver: taken on the host by the keeper, relayed to the container.

The driver publishes them once more in the inner network namespace, so that containers reach one another's published
ports through the gateway as they do with Docker.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from barque.plugins.facades import NetworkDriver
from barque.spi.errors import BarqueError, Conflict
from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkSpec,
    PortBinding,
)

if TYPE_CHECKING:
    from barque.engine.rootless.entering import Keeper

__all__ = ["PublishingNetwork"]

_log = logging.getLogger(__name__)

_BINDING_OPTION = "com.docker.network.bridge.host_binding_ipv4"
_ANY = "0.0.0.0"


class PublishingNetwork(NetworkDriver):
    """A driver whose endpoints have their ports on the host as well."""

    def __init__(self, driver: NetworkDriver, keeper: Keeper) -> None:
        super().__init__(driver._registry, driver.loaded)
        self._keeper = keeper
        self._publishes = NetworkCapability.PORTS in driver.capabilities

    def attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """See `NetworkHooks.network_attach`."""
        if not spec.ports or not self._publishes or spec.network.internal:
            return super().attach(spec, netns)
        default = spec.network.options.get(_BINDING_OPTION) or _ANY
        id = self._key(spec.id)
        ports = self._reserve(id, spec.ports, default)
        try:
            attachment = super().attach(replace(spec, ports=_inner(ports)), netns)
        except BaseException:
            self._keeper.ask({"op": "release", "id": id})
            raise
        endpoint = replace(attachment.endpoint, ports=ports)
        self._keeper.ask({"op": "serve", "id": id, "targets": _targets(endpoint)})
        return replace(attachment, endpoint=endpoint)

    def update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """See `NetworkHooks.network_update`."""
        inner = replace(endpoint, ports=_inner(endpoint.ports))
        if not self._publishes or ports == endpoint.ports:
            changed = super().update(inner, netns, default_route, _inner(ports))
            return replace(changed, ports=endpoint.ports)
        id = self._key(endpoint.id)
        if not ports:
            changed = super().update(inner, netns, default_route, ())
            self._keeper.ask({"op": "release", "id": id})
            return changed
        taken = self._reserve(id, ports, _ANY)
        try:
            changed = super().update(inner, netns, default_route, _inner(taken))
        except BaseException:
            self._keeper.ask({"op": "release", "id": id})
            raise
        changed = replace(changed, ports=taken)
        self._keeper.ask({"op": "serve", "id": id, "targets": _targets(changed)})
        return changed

    def _reserve(self, id: str, ports: tuple[PortBinding, ...], address: str) -> tuple[PortBinding, ...]:
        """Take ports of the host, all or none; as they are then. Of ranges the first place where all are free. Errors: Conflict …"""
        last = max(port.host_port_last - port.host_port if port.host_port_last else 0 for port in ports)
        for offset in range(last + 1):
            wanted = [_chosen(port, offset, address) for port in ports]
            request = [(p.protocol, p.host_ip, p.host_port) for p in wanted]
            try:
                numbers = self._keeper.ask({"op": "reserve", "id": id, "ports": request})["ports"]
            except Conflict:
                if offset == last:
                    raise
                continue
            return tuple(replace(port, host_port=n) for port, n in zip(wanted, numbers, strict=True))
        raise AssertionError("a range has at least one port")

    def detach(self, endpoint: Endpoint, netns: int | None = None) -> None:
        """See `NetworkHooks.network_detach`."""
        if endpoint.ports and self._publishes:
            self._keeper.ask({"op": "release", "id": self._key(endpoint.id)})
        super().detach(endpoint, netns)

    def restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """See `NetworkHooks.network_restore`. The keeper still has the ports, unless it is a new one."""
        super().restore(networks, tuple(replace(e, ports=_inner(e.ports)) for e in endpoints))
        if not self._publishes:
            return
        for endpoint in (endpoint for endpoint in endpoints if endpoint.ports):
            ports = [(p.protocol, p.host_ip, p.host_port) for p in endpoint.ports]
            request = {"op": "publish", "id": self._key(endpoint.id), "ports": ports}
            try:
                self._keeper.ask({**request, "targets": _targets(endpoint)})
            except BarqueError as error:
                _log.warning("%s", error)
        self._keeper.ask({"op": "sweep", "prefix": self._key("")})

    def _key(self, id: str) -> str:
        return f"{self.name}/{id}"


def _chosen(port: PortBinding, offset: int, address: str) -> PortBinding:
    """A port with its address, and that number of its range."""
    number = min(port.host_port + offset, port.host_port_last) if port.host_port_last else port.host_port
    return replace(port, host_ip=port.host_ip or address, host_port=number, host_port_last=0)


def _inner(ports: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
    """The same ports in the inner namespace, which has loopback in common with the host, but no other address."""
    return tuple(replace(port, host_ip=_inner_address(port.host_ip)) for port in ports)


def _inner_address(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return _ANY
    return address if found.version == 4 and found.is_loopback else _ANY


def _targets(endpoint: Endpoint) -> list[tuple[str, int]]:
    address = endpoint.ipv4.partition("/")[0]
    return [(address, port.container_port) for port in endpoint.ports]
