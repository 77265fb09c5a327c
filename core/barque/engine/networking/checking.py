"""What networks and endpoints must satisfy, in Docker's words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from barque.engine.networking.stored import StoredNetwork
from barque.spi.errors import InvalidArgument, PermissionDenied
from barque.spi.frontend import ContainerConfig, EndpointConfig
from barque.spi.network import Subnet

__all__ = ["check_endpoint", "check_mode", "check_network_name", "check_subnets", "is_container_mode"]

_Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_container_mode(mode: str) -> bool:
    """Whether a network mode is `container:REF`."""
    return mode.partition(":")[:2] == ("container", ":")


def check_mode(config: ContainerConfig) -> None:
    """A container as it was asked for, before its image's settings are put in. Errors: InvalidArgument."""
    shared, mode = is_container_mode(config.network), config.network
    if mode == "container" or (shared and mode == "container:"):
        raise InvalidArgument("Invalid network mode: invalid container format container:<name|id>")
    if config.links and (shared or mode == "host"):
        kind = "container type network" if shared else "host type networking"
        raise InvalidArgument(
            f"conflicting options: {kind} can't be used with links. This would result in undefined behavior"
        )
    has_mac = any(endpoint.mac for endpoint in config.networks.values())
    conflicts: Iterable[tuple[object, str]] = (
        (shared and config.hostname, "hostname and the network mode"),
        (shared and config.dns, "dns and the network mode"),
        (shared and config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        ((shared or mode == "host") and has_mac, "mac-address and the network mode"),
        (
            shared and (config.ports or config.publish_all),
            "port publishing and the container type network mode",
        ),
        (shared and config.exposed_ports, "port exposing and the container type network mode"),
    )
    for found, words in conflicts:
        if found:
            raise InvalidArgument(f"conflicting options: {words}")


def check_network_name(name: str, predefined: frozenset[str]) -> None:
    """The name of a network that is to be made. Errors: InvalidArgument, PermissionDenied."""
    if not name.strip():
        raise InvalidArgument("invalid network name: name is empty", hint="give it one")
    if not name.isprintable() or "/" in name or is_container_mode(name):
        raise InvalidArgument(f"invalid network name: {name!r}", hint="use letters, digits, _ . and -")
    if name in predefined or name in ("default", "bridge", "host", "none"):
        raise PermissionDenied(f"operation is not permitted on predefined {name} network ")


def check_endpoint(network: StoredNetwork | None, predefined: bool, config: EndpointConfig) -> None:
    """How a container is to be in a network (None: it is not known yet). Errors: InvalidArgument, telling everything at once."""
    problems = []
    if predefined and (config.ipv4 or config.ipv6):
        problems.append("user specified IP address is supported on user defined networks only")
    if predefined and config.aliases:
        problems.append("network-scoped alias is supported only for containers in user defined networks")
    for address, version in ((config.ipv4, 4), (config.ipv6, 6)):
        if address and not _is_address(address, version):
            problems.append(f"invalid IPv{version} address: {address}")
        elif address and network is not None and not predefined:
            problems += _outside(address, version, network.configured)
    for address in config.link_local:
        if not _is_address(address, 4) and not _is_address(address, 6):
            problems.append(f"invalid link-local IP address: {address}")
    if problems:
        raise InvalidArgument("invalid endpoint settings:\n" + "\n".join(problems))


def _is_address(text: str, version: int) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == version and not address.is_unspecified and "%" not in text


def _outside(address: str, version: int, configured: tuple[str, ...]) -> list[str]:
    subnets = [net for net in map(ipaddress.ip_network, configured) if net.version == version]
    if not subnets:
        return [
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        ]
    if not any(ipaddress.ip_address(address) in net for net in subnets):
        return [f"no configured subnet or ip-range contain the IP address {address}"]
    return []


def check_subnets(subnets: Iterable[Subnet], ipv6: bool) -> None:
    """The subnets of a network that is to be made. Errors: InvalidArgument, telling everything at once; PermissionDenied."""
    subnets, problems = tuple(subnets), []
    for subnet in subnets:
        problems += _subnet_problems(subnet, ipv6)
    if problems:
        raise InvalidArgument("invalid network config:\n" + "\n".join(problems))
    for subnet in subnets:
        if ipv6 or ":" not in subnet.cidr:
            _check_auxiliary(subnet)


def _check_auxiliary(subnet: Subnet) -> None:
    """Each address is taken once: the gateway first, then those that the user keeps for himself."""
    taken = {ipaddress.ip_address(subnet.gateway)} if subnet.gateway else set()
    for name, text in subnet.auxiliary.items():
        address = ipaddress.ip_address(text)
        if address in taken:
            raise PermissionDenied(
                f"failed to allocate secondary ip address ({name}:{text}): Address already in use"
            )
        taken.add(address)


def _subnet_problems(subnet: Subnet, ipv6: bool) -> list[str]:
    net = _network(subnet.cidr)
    if net is None:
        return [f"invalid subnet {subnet.cidr}: invalid CIDR block notation"]
    if net.version == 6 and not ipv6:
        return []  # as Docker: it is left out
    problems = []
    if str(net) != _compressed(subnet.cidr):
        problems.append(f"invalid subnet {subnet.cidr}: it should be {net}")
    problems += _range_problems(subnet.ip_range, net)
    if problem := _address_problem(subnet.gateway, net):
        problems.append(f"invalid gateway {subnet.gateway}: {problem}")
    for name, address in subnet.auxiliary.items():
        if problem := _address_problem(address, net):
            problems.append(f"invalid auxiliary address {name}: {problem}")
    return problems


def _range_problems(text: str, net: _Net) -> list[str]:
    if not text:
        return []
    part = _network(text)
    if part is None:
        return [f"invalid ip-range {text}: invalid CIDR block notation"]
    if part.version != net.version:
        return [f"invalid ip-range {text}: parent subnet is an IPv{net.version} block"]
    problems = []
    if part.prefixlen < net.prefixlen:
        problems.append(f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {net}")
    if str(part) != _compressed(text):
        problems.append(f"invalid ip-range {text}: it should be {part}")
    if not net.overlaps(part):
        problems.append(f"invalid ip-range {text}: parent subnet {net} doesn't contain ip-range")
    return problems


def _address_problem(text: str, net: _Net) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "invalid address"
    if address.version != net.version:
        return f"parent subnet is an IPv{net.version} block"
    return "" if address in net else f"parent subnet {net} doesn't contain this address"


def _network(text: str) -> _Net | None:
    """A CIDR block, with bits below the mask or not; None for anything else (also for an address, or a mask in dots)."""
    if not text.partition("/")[2].isdecimal():
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _compressed(text: str) -> str:
    return str(ipaddress.ip_interface(text))
