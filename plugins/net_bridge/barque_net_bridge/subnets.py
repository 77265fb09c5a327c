"""The subnets of a network: what its spec asks for, checked, and what is chosen where it asks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.network import NetworkSpec, Subnet
from barque_net_bridge.ipam import Address, AddressPool, IpNetwork, choose_subnet
from barque_net_bridge.settings import Mode, Options, pools_of
from barque_net_bridge.surroundings import Span

if TYPE_CHECKING:
    from barque_net_bridge.plugin import BridgeConfig

__all__ = ["completed", "default_gateway", "refuse_overlap", "unique_local", "wanted_subnets"]

_DEFAULT_SUBNETS = ("172.16.0.0/12", "192.168.0.0/16")  # private ranges that Docker's users know
_FIRST_DEFAULT = ip_network("172.17.0.0/16")
_LONGEST = {4: 30, 6: 126}


def wanted_subnets(spec: NetworkSpec) -> dict[int, Subnet]:
    """What the spec says of the subnets it has, by IP version; an empty one is to be chosen. Errors: InvalidArgument."""
    versions = [version for version, has in ((4, spec.ipv4), (6, spec.ipv6)) if has]
    if not versions:
        raise InvalidArgument("IPv4 or IPv6 must be enabled", hint="leave --ipv4=false away, or add --ipv6")
    wanted: dict[int, Subnet] = {}
    for subnet in spec.subnets:
        version = _version(subnet, [version for version in versions if version not in wanted] or versions)
        if version not in versions:
            raise InvalidArgument(
                f"IPv{version} subnet {subnet.cidr} on a network without IPv{version}",
                hint=f"create the network with --ipv{version}",
            )
        if version in wanted:
            raise InvalidArgument(
                "bridge driver doesn't support multiple subnets", hint="name one --subnet for each family"
            )
        wanted[version] = subnet
    return {version: wanted.get(version, Subnet("")) for version in versions}


def completed(
    wanted: Subnet, version: int, options: Options, config: BridgeConfig, taken: Callable[[], list[Span]]
) -> tuple[Subnet, AddressPool]:
    """A subnet with everything that was left to choose, and its addresses. `taken` tells what may not be chosen.

    Errors: InvalidArgument, ResourceExhausted.
    """
    cidr = wanted.cidr or str(choose_subnet(_candidates(version, options, config), taken()))
    subnet = _network(cidr, "subnet")
    if subnet.prefixlen > _LONGEST[version]:
        raise InvalidArgument(
            f"subnet {subnet} has no room for containers",
            hint=f"use a prefix of /{_LONGEST[version]} or shorter",
        )
    ip_range = _range(wanted, subnet)
    auxiliary = {name: _auxiliary(name, text, subnet) for name, text in wanted.auxiliary.items()}
    gateway = None
    if options.mode(version) is not Mode.ISOLATED:
        gateway = _gateway(wanted, subnet, ip_range, set(auxiliary.values()))
    pool = AddressPool(subnet, gateway, ip_range, auxiliary.values())
    text = "" if gateway is None else str(gateway)
    return Subnet(str(subnet), text, str(ip_range or ""), dict(wanted.auxiliary)), pool


def refuse_overlap(pool: AddressPool, others: Iterable[tuple[str, AddressPool]]) -> None:
    """Errors: Conflict when the subnet overlaps one of another network (name, addresses)."""
    for name, other in others:
        same = other.subnet.version == pool.subnet.version
        if same and other.span[0] <= pool.span[1] and pool.span[0] <= other.span[1]:
            raise Conflict(
                "invalid pool request: Pool overlaps with other one on this address space",
                hint=f"network {name} has {other.subnet}",
            )


def default_gateway(subnet: IpNetwork, ip_range: IpNetwork | None, avoid: set[Address]) -> Address:
    """The first address containers could have, which is the gateway's where none is named."""
    within = ip_range or subnet
    first = int(within.network_address)
    value = first + (first == int(subnet.network_address))
    while (address := ip_address(value)) in avoid:
        value += 1
    return address


def unique_local(seed: str) -> str:
    """The /48 of unique local addresses (RFC 4193) of this host: fd, and forty bits that are `seed`'s alone."""
    import hashlib

    digest = hashlib.sha256(b"barque unique local prefix " + seed.encode()).digest()
    return f"fd{digest[0]:02x}:{digest[1:3].hex()}:{digest[3:5].hex()}::/48"


def _candidates(version: int, options: Options, config: BridgeConfig) -> Iterator[tuple[IpNetwork, int]]:
    if version == 6:
        pools = config.pools6 or (unique_local(_machine()),)
        yield from pools_of(pools, config.pool_prefix6)
    elif not options.default:
        yield from pools_of(config.pools, config.pool_prefix)
    elif config.subnet:
        only = _network(config.subnet, "subnet")
        yield only, only.prefixlen
    else:
        yield _FIRST_DEFAULT, 16
        yield from pools_of(_DEFAULT_SUBNETS, 16)


def _machine() -> str:
    """What tells this machine from others (machine-id(5)); on one that has none, this boot."""
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            with open(path, encoding="ascii") as file:
                if text := file.read(64).strip():
                    return text
        except OSError:
            continue
    return ""


def _version(subnet: Subnet, open_versions: list[int]) -> int:
    """Of what it says; one that says nothing is for the first version that has none."""
    if subnet.cidr:
        return _network(subnet.cidr, "subnet").version
    try:
        return ip_address(subnet.gateway).version if subnet.gateway else open_versions[0]
    except ValueError as error:
        raise InvalidArgument(f"invalid gateway {subnet.gateway!r}: {error}") from error


def _network(text: str, what: str) -> IpNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid {what} {text!r}: {error}") from error


def _range(wanted: Subnet, subnet: IpNetwork) -> IpNetwork | None:
    if not wanted.ip_range:
        return None
    ip_range = _network(wanted.ip_range, "ip-range")
    inside = ip_range.version == subnet.version and ip_range.prefixlen >= subnet.prefixlen
    if not inside or ip_range.network_address not in subnet:
        raise InvalidArgument(f"invalid pool request: ip-range {ip_range} is not a part of subnet {subnet}")
    return ip_range


def _auxiliary(name: str, text: str, subnet: IpNetwork) -> Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid auxiliary address {name}={text}: {error}") from error
    if address not in subnet:
        raise InvalidArgument(
            f"auxilliary address: ({name}:{text}) must belong to the primary pool: {subnet}"
        )
    return address


def _gateway(
    wanted: Subnet, subnet: IpNetwork, ip_range: IpNetwork | None, auxiliary: set[Address]
) -> Address:
    if not wanted.gateway:
        return default_gateway(subnet, ip_range, auxiliary)
    try:
        gateway = ip_address(wanted.gateway)
    except ValueError as error:
        raise InvalidArgument(
            f"invalid subnet {wanted.cidr!r}, gateway {wanted.gateway!r}: {error}"
        ) from error
    ends = {subnet.network_address} | ({subnet.broadcast_address} if subnet.version == 4 else set())
    if gateway not in subnet or gateway in ends:
        raise InvalidArgument(f"gateway {gateway} is no host address of subnet {subnet}")
    return gateway
