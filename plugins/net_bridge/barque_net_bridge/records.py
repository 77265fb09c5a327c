"""What the record of an endpoint says about addresses, ports and rules. It comes from a disk, so it is checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from barque.spi.errors import BarqueError, InvalidArgument
from barque.spi.network import Endpoint
from barque_net_bridge.bindings import ANY4, checked
from barque_net_bridge.guarding import GuardRule
from barque_net_bridge.ipam import Address, Interface
from barque_net_bridge.ruleset import PortRule
from barque_net_bridge.settings import interface_name, mac_address

__all__ = ["addresses_of", "guard_rule", "link_local_data", "port_rules", "sound"]

log = logging.getLogger(__name__)

_LINK_LOCAL = "link_local"


def addresses_of(endpoint: Endpoint) -> tuple[Address, ...]:
    """The endpoint's addresses, IPv4 before IPv6. Errors: InvalidArgument (also when it has none)."""
    found: list[Address] = []
    try:
        if endpoint.ipv4:
            found.append(IPv4Interface(endpoint.ipv4).ip)
        if endpoint.ipv6:
            found.append(IPv6Interface(endpoint.ipv6).ip)
    except ValueError as error:
        raise InvalidArgument(f"endpoint {endpoint.id[:12]} has no sound address: {error}") from error
    if not found:
        raise InvalidArgument(f"endpoint {endpoint.id[:12]} has no address")
    return tuple(found)


def port_rules(endpoint: Endpoint) -> tuple[PortRule, ...]:
    """The rules of its published ports. Errors: InvalidArgument."""
    if not endpoint.ports:
        return ()
    by_version = {address.version: str(address) for address in addresses_of(endpoint)}
    rules: list[PortRule] = []
    for port in map(checked, endpoint.ports):
        host_ip = port.host_ip or ANY4
        address = by_version.get(6 if ":" in host_ip else 4)
        if address is None:
            raise InvalidArgument(f"endpoint {endpoint.id[:12]} has no address for a port on {host_ip}")
        rules.append(PortRule(port.protocol, host_ip, port.host_port, address, port.container_port))
    return tuple(rules)


def guard_rule(endpoint: Endpoint) -> GuardRule:
    """The rule about what may come from its interface. Errors: InvalidArgument."""
    addresses = addresses_of(endpoint)
    mac = mac_address(endpoint.mac, addresses[0].packed)
    every = (*addresses, *_link_local(endpoint))
    return GuardRule(interface_name(endpoint.host_interface), mac, tuple(map(str, every)))


def link_local_data(addresses: Iterable[Interface]) -> dict[str, str]:
    """What `Endpoint.data` says of the link-local addresses that were asked for; mostly nothing."""
    text = " ".join(str(address.ip) for address in addresses)
    return {_LINK_LOCAL: text} if text else {}


def _link_local(endpoint: Endpoint) -> list[Address]:
    try:
        found = [ip_address(text) for text in endpoint.data.get(_LINK_LOCAL, "").split()]
    except ValueError as error:
        raise InvalidArgument(f"endpoint {endpoint.id[:12]} has no sound address: {error}") from error
    if any("%" in str(address) for address in found):
        raise InvalidArgument(f"endpoint {endpoint.id[:12]} has an address with a zone")
    return found


def sound(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those that can be restored: a record that is damaged, or claims what another has, is logged and left out.

    One bad record must not keep the daemon, and with it all other containers, from coming back.
    """
    good: list[Endpoint] = []
    claimed: dict[object, str] = {}
    for endpoint in endpoints:
        try:
            guard_rule(endpoint)
            claims: list[object] = [(endpoint.network_id, address) for address in addresses_of(endpoint)]
            claims += [
                (rule.protocol, rule.host_ip, rule.host_port)
                for rule in port_rules(endpoint)
                if rule.host_port
            ]
            for claim in claims:
                if claim in claimed:
                    raise InvalidArgument(f"{claim} belongs to endpoint {claimed[claim][:12]}")
        except BarqueError as error:
            log.error("endpoint %s is not restored: %s", endpoint.id[:12], error)
            continue
        claimed.update((claim, endpoint.id) for claim in claims)
        good.append(endpoint)
    return good
