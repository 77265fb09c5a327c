"""What the record of an endpoint says about addresses, ports and rules. It comes from a disk, so it is checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface

from barque.spi.errors import BarqueError, InvalidArgument
from barque.spi.network import Endpoint
from barque_net_bridge.bindings import ANY4, checked
from barque_net_bridge.ruleset import GuardRule, PortRule
from barque_net_bridge.settings import interface_name, mac_address

__all__ = ["address_of", "guard_rule", "port_rules", "sound"]

log = logging.getLogger(__name__)


def address_of(endpoint: Endpoint) -> IPv4Address:
    """The endpoint's address. Errors: InvalidArgument."""
    try:
        return IPv4Interface(endpoint.ipv4).ip
    except ValueError as error:
        raise InvalidArgument(
            f"endpoint {endpoint.id[:12]} has no IPv4 address: {endpoint.ipv4!r}"
        ) from error


def port_rules(endpoint: Endpoint) -> tuple[PortRule, ...]:
    """The rules of its published ports. Errors: InvalidArgument."""
    address = str(address_of(endpoint)) if endpoint.ports else ""
    return tuple(
        PortRule(port.protocol, port.host_ip or ANY4, port.host_port, address, port.container_port)
        for port in map(checked, endpoint.ports)
    )


def guard_rule(endpoint: Endpoint) -> GuardRule:
    """The rule about what may come from its interface. Errors: InvalidArgument."""
    address = address_of(endpoint)
    return GuardRule(
        interface_name(endpoint.host_interface), mac_address(endpoint.mac, address), str(address)
    )


def sound(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those that can be restored: a record that is damaged, or claims what another has, is logged and left out.

    One bad record must not keep the daemon, and with it all other containers, from coming back.
    """
    good: list[Endpoint] = []
    claimed: dict[object, str] = {}
    for endpoint in endpoints:
        try:
            guard_rule(endpoint)
            claims: list[object] = [(endpoint.network_id, address_of(endpoint))]
            claims += [(rule.protocol, rule.host_ip, rule.host_port) for rule in port_rules(endpoint)]
            for claim in claims:
                if claim in claimed:
                    raise InvalidArgument(f"{claim} belongs to endpoint {claimed[claim][:12]}")
        except BarqueError as error:
            log.error("endpoint %s is not restored: %s", endpoint.id[:12], error)
            continue
        claimed.update((claim, endpoint.id) for claim in claims)
        good.append(endpoint)
    return good
