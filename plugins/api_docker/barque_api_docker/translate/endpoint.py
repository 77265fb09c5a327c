"""How a container is in a network: `EndpointSettings` to the engine's, and `NetworkSettings` back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Container, EndpointConfig
from barque.spi.network import Endpoint
from barque_api_docker.fields import Fields
from barque_api_docker.translate.hostconfig import network_mode
from barque_api_docker.translate.network import BUILTIN
from barque_api_docker.translate.ports import port_map

__all__ = ["container_networks", "endpoint_config", "mac_address", "network_settings", "networks"]

_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")
_SEVERAL_SINCE = (1, 44)
_ALIAS_IS_ID_BEFORE = (1, 45)
_LEGACY_BEFORE = (1, 52)


def endpoint_config(fields: Fields) -> EndpointConfig:
    """An `EndpointSettings` of a request. Whether its addresses make sense is for the engine to say. Errors: InvalidArgument."""
    ipam = fields.part("IPAMConfig")
    return EndpointConfig(
        aliases=tuple(dict.fromkeys(fields.texts("Aliases") or ())),
        links=fields.texts("Links") or (),
        ipv4=ipam.text("IPv4Address"),
        ipv6=ipam.text("IPv6Address"),
        link_local=tuple(filter(None, ipam.texts("LinkLocalIPs") or ())),
        mac=mac_address(fields.text("MacAddress")),
        options=fields.table("DriverOpts"),
        gateway_priority=fields.number("GwPriority"),
    )


def mac_address(text: str) -> str:
    """A hardware address as the kernel prints it; "" stays. Errors: InvalidArgument."""
    if text and not _MAC.fullmatch(text):
        raise InvalidArgument(f"invalid MAC address: {text}")
    return text.lower().replace("-", ":")


def container_networks(
    body: Fields, host: Fields, version: tuple[int, int]
) -> tuple[str, dict[str, EndpointConfig]]:
    """The network mode of a new container, and the networks it is to be in, empty for that of the mode alone. Errors: InvalidArgument."""
    mode = "none" if body.flag("NetworkDisabled") else host.text("NetworkMode") or "default"
    endpoints = body.part("NetworkingConfig").part("EndpointsConfig")
    if len(endpoints.raw) > 1 and version < _SEVERAL_SINCE:
        names = ", ".join(endpoints.raw)
        raise InvalidArgument(f"Container cannot be connected to network endpoints: {names}")
    networks = {}
    for name, value in endpoints.raw.items():
        if value is None:
            raise InvalidArgument(f"no EndpointSettings for {name}")
        networks[name] = endpoint_config(endpoints.part(name))
    networks = _with_mac(networks, mode, mac_address(body.text("MacAddress")))
    if len(networks) == 1 and networks.get(mode) == EndpointConfig() and mode in {"default", *BUILTIN}:
        return mode, {}
    return mode, networks


def _with_mac(networks: dict[str, EndpointConfig], mode: str, mac: str) -> dict[str, EndpointConfig]:
    """The container-wide address, which Docker has given up, is that in the network of the mode."""
    if not mac:
        return networks
    name = next((n for n in networks if n == mode or {n, mode} == {"default", "bridge"}), "")
    if networks and not name:
        raise InvalidArgument(
            "unable to migrate container-wide MAC address to a specific network: "
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
        )
    given = networks.get(name, EndpointConfig())
    if given.mac and given.mac != mac:
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address, or be left empty"
        )
    config = EndpointConfig(
        given.aliases, given.links, given.ipv4, given.ipv6, given.link_local, mac, given.options, given.gateway_priority
    )  # fmt: skip
    return {**networks, (name or mode): config}


def network_settings(
    container: Container, version: tuple[int, int], ids: Mapping[str, str]
) -> dict[str, Any]:
    """`NetworkSettings` of inspect. `ids`: as `networks` takes them."""
    shown = networks(container, ids, version)
    settings: dict[str, Any] = {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if container.state.pid else "",
        "Ports": port_map(container),
    }
    if version < _LEGACY_BEFORE:
        settings |= {
            "HairpinMode": False,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": None,
            "SecondaryIPv6Addresses": None,
        }
        # The addresses beside `Networks` are those of the default network; docker shows them for no other.
        first = shown.get("bridge", _EMPTY)
        settings |= {name: first[name] for name in _TOP_LEVEL}
    return {**settings, "Networks": shown}


_TOP_LEVEL = (
    "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway",
    "MacAddress",
)  # fmt: skip


def networks(
    container: Container, ids: Mapping[str, str], version: tuple[int, int] = (1, 51)
) -> dict[str, dict[str, Any]]:
    """`NetworkSettings.Networks`: by network name how it is there, or is to be when it runs. `ids` of networks by name are shown when
    it has run: until then docker tells none."""
    mode = network_mode(container)
    if mode.startswith("container:"):
        return {}
    configs = {
        ("bridge" if name == "default" else name): config
        for name, config in container.config.networks.items()
    }
    if mode != "none" and set(configs) == {"none"}:
        return {}  # it was taken out of every network
    names = {**container.endpoints, **configs} or {mode: None}
    shown = {name: _endpoint(container, name, configs.get(name), version) for name in names}
    if container.state.started_ns:
        for name, document in shown.items():
            document["NetworkID"] = document["NetworkID"] or ids.get(name, "")
    return shown


_EMPTY: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "GwPriority": 0,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "DNSNames": None,
}


def _endpoint(
    container: Container, name: str, config: EndpointConfig | None, version: tuple[int, int]
) -> dict[str, Any]:
    document = dict(_EMPTY)
    config = config or EndpointConfig()
    document["IPAMConfig"] = _ipam_config(config)
    document["Links"] = list(config.links) or None
    document["DriverOpts"] = dict(config.options) or None
    document["GwPriority"] = config.gateway_priority
    aliases = list(config.aliases)
    if name not in BUILTIN:
        short = container.id[:12]
        names = (container.name, *aliases, short, container.config.hostname)
        document["DNSNames"] = list(dict.fromkeys(filter(None, names)))
        # A start added it. docker-compose 1.29 connects anew, with its links, where it is not there yet.
        started = container.state.status != "created"
        if version < _ALIAS_IS_ID_BEFORE and started and short not in aliases:
            aliases.append(short)
    document["Aliases"] = aliases or None
    endpoint = container.endpoints.get(name)
    if endpoint is not None:
        document |= _addresses(endpoint)
    return document


def _addresses(endpoint: Endpoint) -> Mapping[str, Any]:
    address4, length4 = _split(endpoint.ipv4)
    address6, length6 = _split(endpoint.ipv6)
    return {
        "MacAddress": endpoint.mac,
        "NetworkID": endpoint.network_id,
        "EndpointID": endpoint.id,
        "Gateway": endpoint.gateway4,
        "IPAddress": address4,
        "IPPrefixLen": length4,
        "IPv6Gateway": endpoint.gateway6,
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": length6,
    }


def _ipam_config(config: EndpointConfig) -> dict[str, Any] | None:
    document: dict[str, Any] = {}
    if config.ipv4:
        document["IPv4Address"] = config.ipv4
    if config.ipv6:
        document["IPv6Address"] = config.ipv6
    if config.link_local:
        document["LinkLocalIPs"] = list(config.link_local)
    return document or None


def _split(address: str) -> tuple[str, int]:
    if not address:
        return "", 0
    # as the network driver wrote it: it need not be parsed for each container of a long list
    text, _, length = address.partition("/")
    return text, int(length)
