"""The driver `host`: containers in the host's own network namespace."""

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
)

__all__ = ["HostConfig", "HostNetwork"]


@dataclass(frozen=True)
class HostConfig:
    """The driver has no configuration."""


class HostNetwork(NetworkHooks):
    """The host's interfaces, addresses and ports. Published ports mean nothing here, as with Docker."""

    Config = HostConfig
    capabilities = frozenset({NetworkCapability.HOST_NAMESPACE})

    def __init__(self, name: str, config: HostConfig) -> None:
        self.name = name
        self.config = config

    @hookimpl
    def network_probe(self) -> Probe:
        """Nothing is needed."""
        return Probe()

    @hookimpl
    def network_create(self, spec: NetworkSpec) -> NetworkSpec:
        """Nothing is made."""
        return spec

    @hookimpl
    def network_remove(self, spec: NetworkSpec) -> None:
        """Nothing is there."""

    @hookimpl
    def network_attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """The namespace is there already; a sandbox that is given is left as it is."""
        del netns
        return Attachment(Endpoint(spec.id, spec.network.id, spec.container_id))

    @hookimpl
    def network_detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """Nothing is held."""

    @hookimpl
    def network_restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """Nothing is kept."""

    @hookimpl
    def network_close(self) -> None:
        """Nothing runs."""
