"""Of several networks: their order, which one leads outside, and where the published ports go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from barque.engine.networking.stored import StoredNetwork
from barque.spi.frontend import ContainerConfig, EndpointConfig
from barque.spi.network import Endpoint, PortBinding

__all__ = ["Wanted", "gateway", "interfaces", "kept_ports", "ports_of", "several_routes", "way_out_first"]

_INTERFACE_OPTION = "com.docker.network.endpoint.ifname"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network that a container is to be in, and how."""

    network: StoredNetwork
    config: EndpointConfig


def gateway(wanted: Sequence[Wanted]) -> Wanted | None:
    """The one that the default route and the published ports go to: of those that lead outside the one with the highest priority,
    then one with both families, then the first by name. None where all are internal."""
    outward = [one for one in wanted if not one.network.spec.internal]
    return min(outward, key=_rank, default=None)


def _rank(one: Wanted) -> tuple[int, bool, str]:
    spec = one.network.spec
    return -one.config.gateway_priority, not (spec.ipv4 and spec.ipv6), spec.name


def interfaces(wanted: Sequence[Wanted], taken: Sequence[str] = ()) -> list[str]:
    """The name of each one's interface: what its options ask for, else the first ethN that is free."""
    asked = [one.config.options.get(_INTERFACE_OPTION, "") for one in wanted]
    used = {*taken, *asked}
    names = []
    for name in asked:
        if not name:
            name = next(f"eth{n}" for n in range(len(used) + 1) if f"eth{n}" not in used)
            used.add(name)
        names.append(name)
    return names


def way_out_first(endpoints: Mapping[str, Endpoint]) -> list[Endpoint]:
    """The endpoints of a container, that of its default route before the others."""
    return sorted(endpoints.values(), key=lambda endpoint: not endpoint.default_route)


def several_routes(endpoints: Mapping[str, Endpoint]) -> bool:
    """Whether a container's default route may be another than that of the only network it was started in."""
    return len(endpoints) > 1 or not all(endpoint.default_route for endpoint in endpoints.values())


def ports_of(config: ContainerConfig) -> tuple[PortBinding, ...]:
    """What a container publishes: its own ports, and with `publish_all` every other one that it exposes."""
    if not config.publish_all:
        return config.ports
    taken = {(port.container_port, port.protocol) for port in config.ports}
    more = []
    for text in config.exposed_ports:
        number, _, protocol = text.partition("/")
        if number.isdigit() and (int(number), protocol or "tcp") not in taken:
            more.append(PortBinding(int(number), protocol or "tcp"))
    return (*config.ports, *more)


def kept_ports(wanted: tuple[PortBinding, ...], had: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
    """What another endpoint of the same container is to publish: ports of the host that were chosen stay the same."""
    chosen: dict[tuple[int, str], list[int]] = {}
    for port in had:
        numbers = chosen.setdefault((port.container_port, port.protocol), [])
        if port.host_port not in numbers:
            numbers.append(port.host_port)
    return tuple(_kept(port, chosen) for port in wanted)


def _kept(port: PortBinding, chosen: Mapping[tuple[int, str], list[int]]) -> PortBinding:
    numbers = chosen.get((port.container_port, port.protocol), [])
    fitting = [n for n in numbers if not port.host_port or port.host_port <= n <= (port.host_port_last or n)]
    if (port.host_port and not port.host_port_last) or not fitting:
        return port
    numbers.remove(fitting[0])
    return replace(port, host_port=fitting[0], host_port_last=0)
