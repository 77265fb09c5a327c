"""Address ranges of a new network: `--subnet`, `--gateway`, `--ip-range` and `--aux-address` brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from barque.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Any

    Network = IPv4Network | IPv6Network

__all__ = ["ipam_config"]


def ipam_config(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], auxiliary: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One entry a subnet; each other value goes to the subnet that holds it. Raises CliError in Docker's words."""
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    entries = {subnet: {"Subnet": subnet, "AuxiliaryAddresses": dict[str, str]()} for subnet in subnets}
    if len(subnets) == 1 and not (ranges or gateways or auxiliary):
        return [{"Subnet": subnets[0]}]  # whether it is one, the daemon tells
    known = [(subnet, _network(subnet)) for subnet in subnets]
    for index, (_, one) in enumerate(known):
        if any(one.overlaps(other) for _, other in known[:index] if one.version == other.version):
            raise CliError("multiple overlapping subnet configuration is not supported")
    for value in ranges:
        _put(entries, _holder(known, _network(value).network_address), "IPRange", value, "range")
    for value in gateways:
        _put(entries, _holder(known, _address(value)), "Gateway", value, "gateway")
    for name, value in auxiliary.items():
        subnet = _holder(known, _address(value))
        if not subnet:
            raise CliError(f"no matching subnet for aux-address {value}")
        entries[subnet]["AuxiliaryAddresses"][name] = value  # type: ignore[index]
    return [{key: value for key, value in entry.items() if value} for entry in entries.values()]


def _put(entries: dict[str, dict[str, Any]], subnet: str, key: str, value: str, what: str) -> None:
    if not subnet:
        raise CliError(f"no matching subnet for {what} {value}")
    if key in entries[subnet]:
        words = "ranges" if what == "range" else "gateways"
        name = entries[subnet][key]
        raise CliError(f"cannot configure multiple {words} ({value}, {name}) for the same subnet ({subnet})")
    entries[subnet][key] = value


def _holder(known: list[tuple[str, Network]], address: IPv4Address | IPv6Address) -> str:
    return next((subnet for subnet, network in known if address in network), "")


def _network(value: str) -> Network:
    import ipaddress

    try:
        if "/" not in value:
            raise ValueError
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise CliError(f"invalid CIDR address: {value}") from None


def _address(value: str) -> IPv4Address | IPv6Address:
    import ipaddress

    try:
        return ipaddress.ip_address(value)
    except ValueError:
        raise CliError(f"invalid IP address: {value}") from None
