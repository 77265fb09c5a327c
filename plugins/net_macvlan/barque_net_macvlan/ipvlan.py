"""The driver `ipvlan`."""

from __future__ import annotations

from dataclasses import dataclass

from barque.spi import Probe, hookimpl
from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkHooks,
    NetworkSpec,
    PortBinding,
)

__all__ = ["IpvlanConfig", "IpvlanNetwork"]


@dataclass(frozen=True)
class IpvlanConfig:
    """Configuration of the ipvlan driver. It has no options."""


class IpvlanNetwork(NetworkHooks):
    """Networks on an interface of the host."""

    Config = IpvlanConfig
    capabilities = frozenset({NetworkCapability.CREATE, NetworkCapability.CONNECT, NetworkCapability.IPV6})

    def __init__(self, name: str, config: IpvlanConfig) -> None:
        self.name, self._config = name, config

    @hookimpl
    def network_probe(self) -> Probe:
        """See NetworkHooks."""
        return Probe()

    @hookimpl
    def network_create(self, spec: NetworkSpec) -> NetworkSpec:
        """See NetworkHooks."""
        raise NotImplementedError

    @hookimpl
    def network_remove(self, spec: NetworkSpec) -> None:
        """See NetworkHooks."""

    @hookimpl
    def network_attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """See NetworkHooks."""
        raise NotImplementedError

    @hookimpl
    def network_detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """See NetworkHooks."""

    @hookimpl
    def network_update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """See NetworkHooks."""
        raise NotImplementedError

    @hookimpl
    def network_restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """See NetworkHooks."""

    @hookimpl
    def network_close(self) -> None:
        """See NetworkHooks."""
