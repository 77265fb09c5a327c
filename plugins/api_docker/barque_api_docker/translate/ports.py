"""Ports: `ExposedPorts` and `PortBindings` to the engine's, and an endpoint's back."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Container
from barque.spi.network import PortBinding
from barque_api_docker.fields import Fields

__all__ = ["bindings", "exposed", "parse_port", "port_map", "port_summary"]

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([a-z]+))?", re.IGNORECASE)
_PROTOCOLS = ("tcp", "udp", "sctp")
_ANY = "0.0.0.0"


def parse_port(text: str) -> tuple[range, str]:
    """`80`, `80/udp`, `80-90/tcp`: the ports and the protocol. Errors: InvalidArgument."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    first, last = int(match[1]), int(match[2] or match[1])
    protocol = (match[3] or "tcp").lower()
    if not 0 < first <= last < 65536:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return range(first, last + 1), protocol


def exposed(config: Fields, host: Fields) -> tuple[str, ...]:
    """All ports a container exposes, as `80/tcp`: the exposed ones and those it publishes."""
    ports: dict[str, None] = {}
    for key in (*config.mapping("ExposedPorts"), *host.mapping("PortBindings")):
        numbers, protocol = parse_port(key)
        ports.update((f"{number}/{protocol}", None) for number in numbers)
    return tuple(ports)


def bindings(host: Fields) -> tuple[PortBinding, ...]:
    """`HostConfig.PortBindings`. Errors: InvalidArgument."""
    ports = host.part("PortBindings")
    return tuple(_binding(key, one) for key in ports.raw for one in ports.parts(key))


def _binding(key: str, one: Fields) -> PortBinding:
    numbers, protocol = parse_port(key)
    if len(numbers) != 1:
        raise InvalidArgument(f'invalid port specification: "{key}"')
    address = one.text("HostIp")
    if address:
        address = _address(address)
    return PortBinding(numbers[0], protocol, address, *_host_ports(one.text("HostPort")))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None


def _host_ports(text: str) -> tuple[int, int]:
    """First and last port of a range to choose from; the last is 0 for a single one."""
    first, dash, last = text.partition("-")
    for digits in (first, last):
        if digits and not (digits.isascii() and digits.isdigit() and int(digits) < 65536):
            raise InvalidArgument(f'invalid port specification: "{text}"')
    if dash and not (first and last and int(first) <= int(last)):
        raise InvalidArgument(f'invalid port specification: "{text}"')
    number = int(first or "0")
    return number, int(last) if dash and int(last) > number else 0


def _published(container: Container) -> Iterable[PortBinding]:
    return (port for endpoint in container.endpoints.values() for port in endpoint.ports)


def _host_ip(port: PortBinding) -> str:
    return port.host_ip or _ANY


def _has_ports(container: Container) -> bool:
    """Whether it runs in a network where its ports are its own."""
    mode = container.config.network
    isolated = mode in ("none", "host") or mode.startswith("container:")
    return container.state.status in ("running", "paused") and not isolated


def port_map(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """`NetworkSettings.Ports` of inspect."""
    if not _has_ports(container):
        return {}
    ports: dict[str, list[dict[str, str]] | None] = dict.fromkeys(container.config.exposed_ports)
    for port in _published(container):
        key = f"{port.container_port}/{port.protocol}"
        ports[key] = [*(ports.get(key) or ()), {"HostIp": _host_ip(port), "HostPort": str(port.host_port)}]
    return ports


def port_summary(container: Container) -> list[Mapping[str, Any]]:
    """`Ports` of `docker ps`."""
    if not _has_ports(container):
        return []
    published: list[Mapping[str, Any]] = [
        {
            "IP": _host_ip(port),
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.protocol,
        }
        for port in _published(container)
    ]
    bound = {(port["PrivatePort"], port["Type"]) for port in published}
    for text in container.config.exposed_ports:
        numbers, protocol = parse_port(text)
        published += ({"PrivatePort": n, "Type": protocol} for n in numbers if (n, protocol) not in bound)
    return published
