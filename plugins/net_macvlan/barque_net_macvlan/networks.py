"""The networks of a driver and what is theirs on the host: a parent link, made where it was not there, and addresses."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network

from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from barque.spi.network import Endpoint, NetworkSpec
from barque_net_macvlan import links
from barque_net_macvlan.addresses import Network, Pool, complete
from barque_net_macvlan.netlink import Channel
from barque_net_macvlan.options import Kind, Parent, parent_of
from barque_net_macvlan.refusals import kernel

__all__ = ["OWNER", "Networks", "Realised"]

log = logging.getLogger(__name__)

OWNER = "barque.network.owner"
"""The option under which a network remembers whose it is: the links that a daemon made carry it in their alias."""


@dataclass(slots=True)
class Realised:
    """A network that exists, and its endpoints by id."""

    spec: NetworkSpec
    parent: Parent
    mode: str
    pools: dict[int, Pool]
    endpoints: dict[str, Endpoint] = field(default_factory=dict)

    def release(self, endpoint: Endpoint) -> None:
        """Free the addresses of an endpoint."""
        for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            interface = ip_interface(address)
            pool = self.pools.get(interface.version)
            if pool is not None:
                pool.release(interface.ip, endpoint.id)


class Networks:
    """The table of networks; not thread-safe. `pool`, `prefix`: where IPv4 subnets are chosen from."""

    def __init__(self, kind: Kind, pool: str, prefix: int) -> None:
        self._kind, self._pool, self._prefix = kind, pool, prefix
        self._table: dict[str, Realised] = {}
        self._owner = ""

    def find(self, network_id: str) -> Realised:
        """Errors: NotFound."""
        network = self._table.get(network_id)
        if network is None:
            raise NotFound(f"network {network_id} not found")
        return network

    def known(self, network_id: str) -> Realised | None:
        """The network, if it exists."""
        return self._table.get(network_id)

    def create(self, spec: NetworkSpec) -> NetworkSpec:
        """See `NetworkHooks.network_create`."""
        mode = self._kind.mode(spec.options)
        parent, nowhere = parent_of(spec.options, spec.id)
        self._owner = self._owner or spec.options.get(OWNER, "") or secrets.token_hex(4)
        options = {OWNER: self._owner, **spec.options}
        with kernel(f"making network {spec.name}"), Channel() as channel:
            others = [network for network in self._table.values() if network.spec.id != spec.id]
            self._check_sharing(parent, mode, others)
            taken: list[Network] = [ip_network(s.cidr) for other in others for s in other.spec.subnets]
            choosing = spec.ipv4 and all(":" in subnet.cidr for subnet in spec.subnets)
            in_use = links.networks_in_use(channel) if choosing else []
            subnets = complete(spec, self._pool, self._prefix, taken, in_use)
            self._realise_parent(channel, parent, nowhere, spec.id)
        ready = replace(spec, subnets=subnets, options=options, internal=spec.internal or nowhere)
        known = self._table.get(spec.id)
        if known is None:
            pools: dict[int, Pool] = {}
            for subnet in subnets:
                pools.setdefault(ip_network(subnet.cidr).version, Pool(subnet))
            self._table[spec.id] = Realised(ready, parent, mode, pools)
        return ready

    def _check_sharing(self, parent: Parent, mode: str, others: list[Realised]) -> None:
        """Two networks may share a parent, but not one that hands everything to one link, nor (ipvlan) with different modes."""
        for other in others:
            if other.parent != parent:
                continue
            exclusive = self._kind.exclusive(mode) or self._kind.exclusive(other.mode)
            if exclusive or (other.mode != mode and not self._kind.own_mac):
                raise Conflict(
                    f"network {other.spec.name} is already using parent interface {parent.name}",
                    hint=f"its mode is {other.mode.partition(',')[0]}",
                )

    def _realise_parent(self, channel: Channel, parent: Parent, nowhere: bool, network_id: str) -> None:
        link = links.find(channel, parent.name)
        alias = f"barque:{self._owner}:{network_id}"
        if link is not None:
            if link.loopback:
                raise InvalidArgument(f"loopback interface is not a valid {self._kind.name} parent link")
            links.set_up(channel, link.index)
        elif nowhere:
            links.add_dummy(channel, parent.name, alias)
        elif not parent.vlan:
            raise FailedPrecondition(
                f"invalid subinterface vlan name {parent.name}, example formatting is eth0.10",
                hint="there is no interface of this name",
            )
        else:
            base = links.find(channel, parent.base)
            if base is None:
                raise FailedPrecondition(
                    f"failed to find master interface {parent.base} on the host: Link not found"
                )
            links.add_vlan(channel, parent.name, base.index, parent.vlan, alias)

    def remove(self, network_id: str) -> None:
        """See `NetworkHooks.network_remove`."""
        network = self._table.pop(network_id, None)
        with kernel("removing a network"), Channel() as channel:
            for link in links.links(channel):
                if link.alias.startswith("barque:") and link.alias.endswith(f":{network_id}"):
                    shared = network is not None and any(
                        n.parent == network.parent for n in self._table.values()
                    )
                    if not shared:
                        links.delete(channel, link.index)

    def keep_only(self, specs: tuple[NetworkSpec, ...]) -> None:
        """Remove the networks, and the links that a crash left, of this daemon that are not among `specs`."""
        wanted = {spec.id for spec in specs}
        for id in [id for id in self._table if id not in wanted]:
            self.remove(id)
        owners = {self._owner, *(spec.options.get(OWNER, "") for spec in specs)} - {""}
        used = {network.parent.name for network in self._table.values()}
        with kernel("restoring networks"), Channel() as channel:
            for link in links.links(channel):
                mark, _, rest = link.alias.partition(":")
                owner, _, id = rest.partition(":")
                if mark == "barque" and owner in owners and id not in wanted and link.name not in used:
                    links.delete(channel, link.index)
