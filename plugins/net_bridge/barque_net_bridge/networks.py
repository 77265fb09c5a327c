"""Networks on this host: their bridges, subnets and firewall elements."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from barque.spi import errors
from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque.spi.network import NetworkSpec, Subnet
from barque_net_bridge import rtnetlink
from barque_net_bridge.firewall import Firewall
from barque_net_bridge.instance import OPTION, Claim, Instance, claim, instance, number_of
from barque_net_bridge.ipam import AddressPool, choose_subnet
from barque_net_bridge.namespaces import read_sysctl, write_sysctl
from barque_net_bridge.netlink import NETLINK_ROUTE, NetlinkError, NetlinkSocket
from barque_net_bridge.refusals import kernel
from barque_net_bridge.rtnetlink import Link
from barque_net_bridge.ruleset import NetworkRules
from barque_net_bridge.settings import (
    Options,
    interface_name,
    options_of,
    pools_of,
    subnet_of,
)

if TYPE_CHECKING:
    from barque_net_bridge.plugin import BridgeConfig

__all__ = ["BRIDGE_PREFIX", "Bridged", "Networks"]

log = logging.getLogger(__name__)

BRIDGE_PREFIX = "bq-"
_DEFAULT_SUBNETS = ("172.16.0.0/12", "192.168.0.0/16")  # private ranges that Docker's users know
_FIRST_DEFAULT = IPv4Network("172.17.0.0/16")


@dataclass(frozen=True, slots=True)
class Bridged:
    """A network that exists: its complete spec, options, bridge (a link index of now) and addresses."""

    spec: NetworkSpec
    options: Options
    link: Link
    pool: AddressPool
    rules: NetworkRules


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

    def create(self, spec: NetworkSpec) -> Bridged:
        """Realise a network, or assert one that exists again. On error a new bridge is removed again."""
        if spec.ipv6:
            raise errors.NotImplemented(
                "the bridge driver has IPv4 only", hint="create the network without --ipv6"
            )
        options = options_of(spec)
        with self._lock, kernel(f"making network {spec.name}"):
            number = self._claimed(number_of(spec.options) if spec.subnets else None).number
            if number > 0:
                spec = replace(spec, options={**spec.options, OPTION: str(number)})
            known = self._known.get(spec.id)
            if known is not None and not spec.subnets:
                spec = replace(spec, subnets=known.spec.subnets)
            spec, pool = self._with_subnet(spec, options, known)
            rules = self._rules(spec, options, pool)
            link = self._assert_bridge(rules, options, pool)
            try:
                self.firewall.add_network(spec.id, rules)
            except BaseException:
                self._delete(link)
                raise
            self._known[spec.id] = Bridged(spec, options, link, pool, rules)
            return self._known[spec.id]

    def remove(self, spec: NetworkSpec) -> None:
        """Undo `create`. Idempotent, also for a network that only a former daemon knew."""
        with self._lock, kernel(f"removing network {spec.name}"):
            self._claimed(number_of(spec.options))
            self._known.pop(spec.id, None)
            self.firewall.remove_network(spec.id)
            try:
                link = rtnetlink.link(self.channel, self._bridge_name(spec, options_of(spec)))
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise
                return
            self._delete(link)

    def forget_others(self, ids: set[str]) -> None:
        """Remove the networks, and our bridges, that are not among these. The firewall's are for its `restore`."""
        with self._lock, kernel("removing stale networks"):
            for id in self._known.keys() - ids:
                del self._known[id]
            bridges = {network.rules.bridge for network in self._known.values()}
            stale = {
                link.name
                for link in rtnetlink.links(self.channel)
                if link.kind == "bridge" and link.group == self.group and link.name not in bridges
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

    def _rules(self, spec: NetworkSpec, options: Options, pool: AddressPool) -> NetworkRules:
        bridge = self._bridge_name(spec, options)
        for other in self._known.values():
            if other.rules.bridge == bridge and other.spec.id != spec.id:
                raise Conflict(f"bridge {bridge} already belongs to network {other.spec.name}")
        return NetworkRules(bridge, str(pool.subnet), spec.internal, options.icc, options.masquerade)

    def _with_subnet(
        self, spec: NetworkSpec, options: Options, known: Bridged | None
    ) -> tuple[NetworkSpec, AddressPool]:
        if len(spec.subnets) > 1:
            raise InvalidArgument("a bridge network has one IPv4 subnet", hint="name --subnet once")
        subnet, gateway = subnet_of(spec.subnets[0] if spec.subnets else self._choose(options))
        for other in self._known.values():
            if other.spec.id != spec.id and other.pool.subnet.overlaps(subnet):
                raise Conflict(
                    f"subnet {subnet} overlaps with {other.pool.subnet} of network {other.spec.name}:"
                    " Pool overlaps with other one on this address space"
                )
        if known is not None and (known.pool.subnet, known.pool.gateway) == (subnet, gateway):
            return spec, known.pool
        if known is not None:
            raise Conflict(f"network {spec.name} exists with subnet {known.pool.subnet}")
        complete = replace(spec, subnets=(Subnet(str(subnet), str(gateway)),))
        return complete, AddressPool(subnet, gateway)

    def _choose(self, options: Options) -> Subnet:
        candidates = self._default_candidates() if options.default else self._pool_candidates()
        return Subnet(str(choose_subnet(candidates, self._taken())))

    def _default_candidates(self) -> Iterator[IPv4Network]:
        if self._config.subnet:
            yield subnet_of(Subnet(self._config.subnet))[0]
            return
        yield _FIRST_DEFAULT
        yield from pools_of(_DEFAULT_SUBNETS, 16)

    def _pool_candidates(self) -> Iterator[IPv4Network]:
        return pools_of(self._config.pools, self._config.pool_prefix)

    def _taken(self) -> list[IPv4Network]:
        """What this host already routes to, has addresses in, or we gave out."""
        taken = [network.pool.subnet for network in self._known.values()]
        taken += [network for network, _ in rtnetlink.routes(self.channel) if network is not None]
        for addresses in rtnetlink.addresses(self.channel).values():
            taken += [address.network for address in addresses]
        return taken

    def _assert_bridge(self, rules: NetworkRules, options: Options, pool: AddressPool) -> Link:
        made = False
        try:
            link = rtnetlink.link(self.channel, rules.bridge)
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise
            mac = b"\x02\x42" + pool.gateway.packed
            self.channel.do(rtnetlink.add_bridge(rules.bridge, mac, self._mtu(options), self.group))
            link, made = rtnetlink.link(self.channel, rules.bridge), True
        if link.kind != "bridge":
            raise Conflict(f"interface {rules.bridge} exists and is not a bridge")
        try:
            _configure_host(rules)
            address = pool.interface(pool.gateway)
            self.channel.do(rtnetlink.add_address(link.index, address), rtnetlink.set_up(link.index))
        except BaseException:
            if made:
                self._delete(link)
            raise
        return link

    def _mtu(self, options: Options) -> int:
        """The network's, the driver's, or that of the link that the default route goes through."""
        if options.mtu or self._config.mtu:
            return options.mtu or self._config.mtu
        ways = {index for network, index in rtnetlink.routes(self.channel) if network is None}
        return min((rtnetlink.link_at(self.channel, index).mtu for index in ways), default=1500)

    def _delete(self, link: Link) -> None:
        """Delete a bridge of ours; one that somebody else made is only left."""
        if link.group == self.group:
            self.channel.do(rtnetlink.delete_link(link.name))


def _configure_host(rules: NetworkRules) -> None:
    """The host's settings that a network needs, made before its bridge is up."""
    if read_sysctl(f"ipv6/conf/{rules.bridge}/disable_ipv6") == "0":
        write_sysctl(f"ipv6/conf/{rules.bridge}/disable_ipv6", "1")
    if rules.internal:
        return
    # Ports published on 127.0.0.1: lets the host's loopback address out to this bridge. The chain `loopback`
    # keeps everything else of 127/8 away from it.
    write_sysctl(f"ipv4/conf/{rules.bridge}/route_localnet", "1")
    if read_sysctl("ipv4/ip_forward") == "0":
        log.info("net.ipv4.ip_forward was off and is now on: containers reach other hosts through this one")
        write_sysctl("ipv4/ip_forward", "1")
