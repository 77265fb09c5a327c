"""The driver `none`: a network namespace with nothing but `lo`."""

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
from barque_net_bridge.sandbox import loopback_up

__all__ = ["NoneConfig", "NoneNetwork"]


@dataclass(frozen=True)
class NoneConfig:
    """The driver has no configuration."""


class NoneNetwork(NetworkHooks):
    """No network. Attach brings `lo` up in the sandbox it is given; with none, the runtime makes one."""

    Config = NoneConfig
    capabilities: frozenset[NetworkCapability] = frozenset()

    def __init__(self, name: str, config: NoneConfig) -> None:
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
        """Bring up `lo`."""
        if netns is not None:
            loopback_up(netns)
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
