"""The driver `bridge`: containers behind a Linux bridge, translated by nftables."""

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
from barque_net_bridge.background import Background
from barque_net_bridge.endpoints import Endpoints
from barque_net_bridge.networks import Networks
from barque_net_bridge.probe import probe
from barque_net_bridge.watch import Watch

__all__ = ["BridgeConfig", "BridgeNetwork"]


@dataclass(frozen=True)
class BridgeConfig:
    """Configuration of the bridge driver.

    bridge: the default network's bridge (other networks: `bq-` and twelve digits of their id). A second daemon on
        the same host, which finds it taken by a running one, calls its own `barque1`, a third `barque2`.
    table: the nftables table that holds all rules (a second daemon's: `barque_1`). Nothing else may be put in it.
    subnet: the default network's subnet; empty for 172.17.0.0/16, or the next /16 this host does not use.
    pools: ranges that other networks' subnets are cut from.
    pool_prefix: the prefix length of those subnets.
    pools6: ranges that IPv6 subnets are cut from; empty for a /48 of unique local addresses (fd00::/8) made of this
        machine's id.
    pool_prefix6: the prefix length of those subnets.
    mtu: of new networks, in bytes; 0 for that of the interface the default route goes through.
    antispoof: drop IP and ARP packets in which a container claims another hardware or IP address than its own.
        Off by default, as with Docker: programs with CAP_NET_RAW may want to.
    warm_slots: prepared sandboxes kept for the default network once it was used. Each costs about 0.1 MiB of
        kernel memory and saves about 2 ms at a start.
    warm_slots_max: how many of them there may be under sustained load; 0 turns them off.
    """

    bridge: str = "barque0"
    table: str = "barque"
    subnet: str = ""
    pools: tuple[str, ...] = ("10.89.0.0/16", "10.90.0.0/15", "172.18.0.0/15", "192.168.0.0/16")
    pool_prefix: int = 24
    pools6: tuple[str, ...] = ()
    pool_prefix6: int = 64
    mtu: int = 0
    antispoof: bool = False
    warm_slots: int = 4
    warm_slots_max: int = 16


class BridgeNetwork(NetworkHooks):
    """Networks on Linux bridges.

    Host settings that it changes: net.ipv4.ip_forward (net.ipv6.conf.all.forwarding) is turned on with the first network
    of the family that is not internal and stays on; interfaces that listened to routers go on doing so (accept_ra 2).
    Each bridge has route_localnet on, and IPv6 off where its network has none; no bridge listens to routers. The rules
    of other tools are never touched: where one of them drops what is forwarded, `network_probe` says so, because no
    accept of ours can override that.
    """

    Config = BridgeConfig
    capabilities = frozenset(
        {
            NetworkCapability.OWN_SANDBOX,
            NetworkCapability.PORTS,
            NetworkCapability.CREATE,
            NetworkCapability.CONNECT,
            NetworkCapability.IPV6,
        }
    )

    def __init__(self, name: str, config: BridgeConfig) -> None:
        self.name = name
        self._networks = Networks(config)
        self._background = Background("barque-net-background")
        self._endpoints = Endpoints(
            self._networks, self._background, config.warm_slots, config.warm_slots_max
        )
        self._watch = Watch(self._networks.firewall)

    @hookimpl
    def network_probe(self) -> Probe:
        """See NetworkHooks."""
        return probe(self._networks.firewall.table)

    @hookimpl
    def network_create(self, spec: NetworkSpec) -> NetworkSpec:
        """See NetworkHooks."""
        return self._create(spec, rules_follow=False)

    def _create(self, spec: NetworkSpec, *, rules_follow: bool) -> NetworkSpec:
        before = self._networks.known().get(spec.id)
        network = self._networks.create(spec, rules_follow=rules_follow)
        if before is not None and before.link.index != network.link.index:  # somebody deleted the bridge
            self._endpoints.drop_slots(spec.id)
            self._endpoints.match_links()
        self._watch.start()
        return network.spec

    @hookimpl
    def network_remove(self, spec: NetworkSpec) -> None:
        """See NetworkHooks."""
        self._endpoints.drop_slots(spec.id)
        if self._networks.remove(spec):
            self._endpoints.bury_retired()

    @hookimpl
    def network_attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """See NetworkHooks."""
        return self._endpoints.attach(spec, netns)

    @hookimpl
    def network_detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """See NetworkHooks."""
        self._endpoints.detach(endpoint, netns)

    @hookimpl
    def network_update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """See NetworkHooks."""
        return self._endpoints.update(endpoint, netns, default_route, ports)

    @hookimpl
    def network_restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """See NetworkHooks."""
        for spec in networks:
            self._create(spec, rules_follow=True)
        self._networks.forget_others({spec.id for spec in networks})
        self._endpoints.restore(networks, endpoints)

    @hookimpl
    def network_close(self) -> None:
        """See NetworkHooks."""
        self._watch.close()
        self._background.close()
        self._endpoints.close()
        self._networks.close()
