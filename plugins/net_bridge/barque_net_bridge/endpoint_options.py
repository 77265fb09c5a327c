"""What an endpoint's own options ask for: kernel settings of its interface, and the interface's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface

from barque.spi.errors import InvalidArgument
from barque.spi.network import EndpointSpec
from barque_net_bridge.ipam import Interface
from barque_net_bridge.settings import Options, interface_name

__all__ = ["interface_of", "link_local_of", "sysctls_of"]

_SYSCTLS = "com.docker.network.endpoint.sysctls"
_IFNAME = "com.docker.network.endpoint.ifname"
_SETTING = re.compile(r"net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.([a-z0-9_]+)")
_USUAL = re.compile(r"eth([0-9]{1,4})")


def interface_of(spec: EndpointSpec, options: Options) -> str:
    """The interface's name in the container: the endpoint's own, that of the spec, or with the network's prefix for `eth`.

    Errors: InvalidArgument.
    """
    if own := spec.options.get(_IFNAME, ""):
        return interface_name(own)
    usual = _USUAL.fullmatch(spec.interface) if options.prefix else None
    return interface_name(spec.interface if usual is None else options.prefix + usual[1])


def sysctls_of(options: Mapping[str, str], interface: str) -> tuple[tuple[str, str], ...]:
    """The kernel settings of the interface, as (path below /proc/sys/net, value). Errors: InvalidArgument."""
    found: list[tuple[str, str]] = []
    for text in filter(None, options.get(_SYSCTLS, "").split(",")):
        key, _, value = text.strip().partition("=")
        setting = _SETTING.fullmatch(key)
        if setting is None or not value or "\0" in value:
            raise InvalidArgument(
                f"invalid endpoint sysctl {text!r}",
                hint="use net.ipv4.conf.IFNAME.<setting>=<value>, with IFNAME as it is",
            )
        family, kind, name = setting.groups()
        found.append((f"{family}/{kind}/{interface}/{name}", value))
    return tuple(found)


def link_local_of(spec: EndpointSpec) -> tuple[Interface, ...]:
    """The link-local addresses it gets besides its own. Errors: InvalidArgument."""
    found: list[Interface] = []
    for text in spec.link_local:
        try:
            address = ip_address(text)
        except ValueError as error:
            raise InvalidArgument(f"invalid link-local IP address {text!r}") from error
        if not address.is_link_local or "%" in text:
            raise InvalidArgument(
                f"invalid link-local IP address {text!r}", hint="use 169.254.0.0/16 or fe80::/64"
            )
        found.append(ip_interface((int(address), 16) if address.version == 4 else (address.packed, 64)))
    return tuple(found)
