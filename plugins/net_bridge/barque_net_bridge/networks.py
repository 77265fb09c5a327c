"""Networks on this host: their bridges, subnets and firewall elements."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from barque.spi.errors import Conflict, NotFound
from barque.spi.network import NetworkSpec, Subnet
from barque_net_bridge import rtnetlink
from barque_net_bridge.bridges import assert_bridge, delete_bridge, retire_bridge
from barque_net_bridge.firewall import Firewall
from barque_net_bridge.instance import OPTION, Claim, Instance, claim, instance, number_of
from barque_net_bridge.ipam import Address, AddressPool
from barque_net_bridge.netlink import NETLINK_ROUTE, NetlinkError, NetlinkSocket
from barque_net_bridge.refusals import kernel
from barque_net_bridge.rtnetlink import Link
from barque_net_bridge.ruleset import FamilyRules, NetworkRules
from barque_net_bridge.settings import Options, interface_name, options_of
from barque_net_bridge.subnets import completed, refuse_overlap, wanted_subnets
from barque_net_bridge.surroundings import Span, Surroundings

if TYPE_CHECKING:
    from barque_net_bridge.plugin import BridgeConfig

__all__ = ["BRIDGE_PREFIX", "Bridged", "Networks"]

log = logging.getLogger(__name__)

BRIDGE_PREFIX = "bq-"


@dataclass(frozen=True, slots=True)
class Bridged:
    """A network that exists: its complete spec, options, bridge (a link index of now) and addresses, IPv4 before IPv6."""

    spec: NetworkSpec
    options: Options
    link: Link
    pools: tuple[AddressPool, ...]
    rules: NetworkRules

    def pool(self, version: int) -> AddressPool | None:
        """The addresses of an IP version, None when it has none."""
        return next((pool for pool in self.pools if pool.subnet.version == version), None)

    @property
    def gateways(self) -> tuple[Address, ...]:
        """Where containers send what has no other route: nowhere in an internal network."""
        if self.spec.internal:
            return ()
        return tuple(pool.gateway for pool in self.pools if pool.gateway is not None)


class Networks:
    """The networks of this driver. Thread-safe. Acts in the network namespace of the calling thread."""

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        first = instance(config.bridge, config.table, 0)
        self.firewall = Firewall(first.table, antispoof=config.antispoof)
        self._lock = threading.RLock()
        self._claim: Claim | None = None
        self._channel: NetlinkSocket | None = None
        self._known: dict[str, Bridged] = {}

    @property
    def instance(self) -> Instance:
        """The names that are this daemon's. Errors: FailedPrecondition."""
        return self._claimed(None)

    @property
    def group(self) -> int:
        """The interface group of this daemon's links; the next number is for those that are to be deleted."""
        return self.instance.group

    @property
    def channel(self) -> NetlinkSocket:
        """The rtnetlink socket of the daemon's namespace, opened at the first use."""
        if self._channel is None:
            with kernel("opening a netlink socket"):
                self._channel = NetlinkSocket(NETLINK_ROUTE)
                self._channel.filter_strictly()
        return self._channel

    def get(self, id: str) -> Bridged:
        """The network with this id. Errors: NotFound."""
        try:
            return self._known[id]
        except KeyError:
            raise NotFound(f"network {id[:12]} not found", hint="create it first") from None

    def known(self) -> dict[str, Bridged]:
        """The networks by id, as of now."""
        with self._lock:
            return dict(self._known)

    def create(self, spec: NetworkSpec, *, rules_follow: bool = False) -> Bridged:
        """Realise a network, or assert one that exists again. On error a new bridge is removed again.

        `rules_follow`: the firewall's `restore` asserts all rules soon; those of a network that has some are left for that.
        """
        options = options_of(spec)
        with self._lock, kernel(f"making network {spec.name}"):
            number = self._claimed(number_of(spec.options) if spec.subnets else None).number
            if number > 0:
                spec = replace(spec, options={**spec.options, OPTION: str(number)})
            known = self._known.get(spec.id)
            if known is not None and not spec.subnets:
                spec = replace(spec, subnets=known.spec.subnets)
            around = Surroundings(self.channel)
            spec, pools = self._with_subnets(spec, options, known, around)
            rules = self._rules(spec, options, pools)
            link = assert_bridge(
                self.channel, rules.bridge, self.group, lambda: options.mtu or self._config.mtu or around.mtu(),
                pools, options, internal=spec.internal,
            )  # fmt: skip
            try:
                if known is None or not rules_follow:
                    self.firewall.add_network(spec.id, rules)
            except BaseException:
                if known is None:
                    delete_bridge(self.channel, link, self.group)
                raise
            self._known[spec.id] = Bridged(spec, options, link, pools, rules)
            return self._known[spec.id]

    def remove(self, spec: NetworkSpec) -> bool:
        """Undo `create`. Idempotent, also for a network that only a former daemon knew.

        Whether a bridge was retired: that its group, `group + 1`, be deleted is up to the caller.
        """
        with self._lock, kernel(f"removing network {spec.name}"):
            self._claimed(number_of(spec.options))
            known = self._known.pop(spec.id, None)
            self.firewall.remove_network(spec.id)
            try:
                link = rtnetlink.link(self.channel, self._bridge_name(spec, options_of(spec)))
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise
                return False
            return retire_bridge(self.channel, link, self.group, () if known is None else known.pools)

    def forget_others(self, ids: set[str]) -> None:
        """Remove the networks, and our bridges, that are not among these. The firewall's are for its `restore`."""
        with self._lock, kernel("removing stale networks"):
            for id in self._known.keys() - ids:
                del self._known[id]
            bridges = {network.rules.bridge for network in self._known.values()}
            stale = {
                link.name
                for link in rtnetlink.links(self.channel)
                if link.kind == "bridge"
                and (link.group == self.group + 1 or (link.group == self.group and link.name not in bridges))
            }
            rtnetlink.delete_links(self.channel, stale, self.group + 1)

    def close(self) -> None:
        """Close the sockets; everything in the kernel stays. Idempotent."""
        self.firewall.close()
        with self._lock:
            channel, self._channel = self._channel, None
            claim, self._claim = self._claim, None
        if channel is not None:
            channel.close()
        if claim is not None:
            claim.release()

    def _claimed(self, stored: int | None) -> Instance:
        """The names of this daemon; at the first call they are taken, under the number it had before if any."""
        with self._lock:
            if self._claim is None:
                self._claim = claim(self._config.bridge, self._config.table, stored)
                self.firewall.table = self._claim.instance.table
            return self._claim.instance

    def _bridge_name(self, spec: NetworkSpec, options: Options) -> str:
        if options.bridge:
            return options.bridge
        return self.instance.bridge if options.default else interface_name(BRIDGE_PREFIX + spec.id[:12])

    def _rules(self, spec: NetworkSpec, options: Options, pools: tuple[AddressPool, ...]) -> NetworkRules:
        bridge = self._bridge_name(spec, options)
        for other in self._known.values():
            if other.rules.bridge == bridge and other.spec.id != spec.id:
                raise Conflict(f"bridge {bridge} already belongs to network {other.spec.name}")
        families = tuple(
            FamilyRules(
                pool.subnet.version,
                str(pool.subnet),
                options.masquerade and not spec.internal,
                options.mode(pool.subnet.version),
            )
            for pool in pools
        )
        return NetworkRules(bridge, families, spec.internal, options.icc)

    def _with_subnets(
        self, spec: NetworkSpec, options: Options, known: Bridged | None, around: Surroundings
    ) -> tuple[NetworkSpec, tuple[AddressPool, ...]]:
        wanted = wanted_subnets(spec)
        if known is not None and tuple(wanted.values()) == known.spec.subnets:
            return spec, known.pools
        subnets: list[Subnet] = []
        pools: list[AddressPool] = []
        for version, subnet in wanted.items():
            complete, pool = completed(
                subnet, version, options, self._config, partial(self._taken, around, version)
            )
            refuse_overlap(pool, self._others(spec.id))
            subnets.append(complete)
            pools.append(pool)
        if known is not None and tuple(subnets) == known.spec.subnets:
            return replace(spec, subnets=tuple(subnets)), known.pools
        if known is not None:
            has = ", ".join(subnet.cidr for subnet in known.spec.subnets)
            raise Conflict(f"network {spec.name} exists with subnet {has}")
        return replace(spec, subnets=tuple(subnets)), tuple(pools)

    def _others(self, id: str) -> Iterator[tuple[str, AddressPool]]:
        for other in self._known.values():
            if other.spec.id != id:
                yield from ((other.spec.name, pool) for pool in other.pools)

    def _taken(self, around: Surroundings, version: int) -> list[Span]:
        """What this host already routes to, has addresses in, or we gave out."""
        ours = (pool for network in self._known.values() for pool in network.pools)
        return around.taken(version) + [pool.span for pool in ours if pool.subnet.version == version]
