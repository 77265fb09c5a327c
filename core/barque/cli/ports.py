"""`--publish` and `--expose`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from barque.cli.errors import CliError

__all__ = ["published"]

Bindings = dict[str, list[dict[str, str]]]


def published(publish: Sequence[str], expose: Sequence[str]) -> tuple[list[str], Bindings]:
    """(exposed `port/protocol`s, host bindings by them). Raises CliError in Docker's words."""
    bindings: Bindings = {}
    exposed: list[str] = []
    for value in publish:
        for port, binding in _publish(value):
            exposed.append(port)
            bindings.setdefault(port, []).append(binding)
    for value in expose:
        span, _, protocol = value.partition("/")
        first, last = _exposed(span, value)
        exposed += [f"{port}/{_protocol(protocol)}" for port in range(first, last + 1)]
    return list(dict.fromkeys(exposed)), bindings


def _exposed(span: str, value: str) -> tuple[int, int]:
    complaint = f"invalid range format for --expose: {value}, error: "
    for number in span.split("-", 1):
        if not (number.isascii() and number.isdigit()):
            why = (
                f'strconv.ParseUint: parsing "{number}": invalid syntax'
                if span
                else "empty string specified for ports."
            )
            raise CliError(complaint + why)
    return _span(span, f"{complaint}invalid range specified for port: {span}")


def _publish(value: str) -> Iterable[tuple[str, dict[str, str]]]:
    """`[[ip:][hostPort]:]containerPort[/protocol]`, ports may be ranges."""
    if "=" in value:
        value = _short_form(value)
    mapping, _, protocol = value.partition("/")
    front, _, container = mapping.rpartition(":")
    address, _, host = front.rpartition(":")
    if not container:
        raise CliError(f"no port specified: {value}<empty>")
    address = _address(address)
    first, last = _span(container, f"invalid containerPort: {container}")
    suffix = _protocol(protocol)
    if not host:
        return [(f"{port}/{suffix}", {"HostIp": address, "HostPort": ""}) for port in range(first, last + 1)]
    host_first, host_last = _span(host, f"invalid hostPort: {host}")
    if host_last - host_first != last - first:
        if first != last:
            raise CliError(f"invalid ranges specified for container and host Ports: {container} and {host}")
        return [(f"{first}/{suffix}", {"HostIp": address, "HostPort": host})]
    return [
        (f"{first + offset}/{suffix}", {"HostIp": address, "HostPort": str(host_first + offset)})
        for offset in range(last - first + 1)
    ]


def _short_form(value: str) -> str:
    """The long form `published=8080,target=80,protocol=tcp` in the short one."""
    fields = dict(part.partition("=")[::2] for part in value.split(","))
    unknown = set(fields) - {"published", "target", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise CliError(f"invalid field {sorted(unknown)[0]}" if unknown else f"no target port in {value}")
    return f"{fields.get('published', '')}:{fields['target']}/{fields.get('protocol', 'tcp')}"


def _address(address: str) -> str:
    if not address:
        return ""
    import ipaddress

    bare = address.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        raise CliError(f"invalid IP address: {address}") from None
    return bare


def _span(value: str, complaint: str) -> tuple[int, int]:
    first, dash, last = value.partition("-")
    numbers = (first, last if dash else first)
    if not all(number.isascii() and number.isdigit() and int(number) < 65536 for number in numbers):
        raise CliError(complaint)
    low, high = int(numbers[0]), int(numbers[1])
    if high < low:
        raise CliError(complaint)
    return low, high


def _protocol(protocol: str) -> str:
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise CliError(f"invalid proto: {protocol}")
    return protocol
