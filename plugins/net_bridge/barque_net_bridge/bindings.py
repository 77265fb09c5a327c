"""What a published port asks for: on which addresses of the host, and which port numbers are tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address

from barque.spi.errors import InvalidArgument
from barque.spi.network import PortBinding

__all__ = [
    "ANY4",
    "ANY6",
    "PROTOCOLS",
    "Hosts",
    "addresses",
    "candidates",
    "checked",
    "overlap",
    "satisfies",
    "unused_numbers",
]

ANY4, ANY6 = "0.0.0.0", "::"
PROTOCOLS = ("tcp", "udp", "sctp")
_ATTEMPTS = 32  # for a port that is free in both families


@dataclass(frozen=True, slots=True)
class Hosts:
    """The families an endpoint has addresses of, and the host address of bindings that name none (empty: every one)."""

    ipv4: bool = True
    ipv6: bool = False
    default: str = ""


def checked(binding: PortBinding) -> PortBinding:
    """The binding with its host address in the usual form, empty where there is none. Errors: InvalidArgument."""
    if binding.protocol not in PROTOCOLS:
        raise InvalidArgument(
            f"invalid protocol {binding.protocol!r} for a published port", hint="use tcp, udp or sctp"
        )
    ports = (binding.host_port, binding.host_port_last)
    if not 0 < binding.container_port < 65536 or not all(0 <= port < 65536 for port in ports):
        raise InvalidArgument(f"invalid port in {binding.host_port}:{binding.container_port}")
    if 0 < binding.host_port_last < binding.host_port:
        raise InvalidArgument(f"invalid port range {binding.host_port}-{binding.host_port_last}")
    return replace(binding, host_ip=_address(binding.host_ip) if binding.host_ip else "")


def addresses(binding: PortBinding, hosts: Hosts) -> tuple[str, ...]:
    """The host addresses that a checked binding is published on. Errors: InvalidArgument."""
    wanted = binding.host_ip or (_address(hosts.default) if hosts.default else "")
    if wanted in ("", ANY4) and not binding.host_ip:
        return tuple(one for one, has in ((ANY4, hosts.ipv4), (ANY6, hosts.ipv6)) if has)
    six = ":" in wanted
    if hosts.ipv6 if six else hosts.ipv4:
        return (wanted,)
    if not binding.host_ip:
        return ()  # the network's default address is of the other family
    raise InvalidArgument(
        f"invalid host address {wanted!r} for a published port: the container has no {'IPv6' if six else 'IPv4'} address",
        hint="create its network with --ipv6" if six else "publish on an IPv6 address",
    )


def candidates(binding: PortBinding, count: int) -> Iterable[int]:
    """The port numbers to try in order; 0 leaves the choice to the kernel. `count`: on how many addresses."""
    if not binding.host_port:
        return (0,) * (_ATTEMPTS if count > 1 else 1)
    return range(binding.host_port, max(binding.host_port, binding.host_port_last) + 1)


def unused_numbers() -> Iterable[int]:
    """Port numbers to try where the kernel cannot choose one, in no order."""
    import random

    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = (int(word) for word in file.read(64).split())
    numbers = range(first, last + 1)
    return random.sample(numbers, min(len(numbers), 256))


def overlap(one: str, other: str) -> bool:
    """Whether two host addresses cannot have the same port."""
    return one == other or ((":" in one) == (":" in other) and bool({one, other} & {ANY4, ANY6}))


def satisfies(held: PortBinding, wanted: PortBinding, address: str) -> bool:
    """Whether a port that is held is what `wanted` asks for on `address`."""
    if (held.container_port, held.protocol, held.host_ip) != (
        wanted.container_port,
        wanted.protocol,
        address,
    ):
        return False
    last = max(wanted.host_port, wanted.host_port_last)
    return not wanted.host_port or wanted.host_port <= held.host_port <= last


def _address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid host address {text!r} for a published port") from error
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidArgument(
                f"invalid host address {text!r} for a published port", hint="leave the zone away"
            )
        address = address.ipv4_mapped or address
    return str(address)
