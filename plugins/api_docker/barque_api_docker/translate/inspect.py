"""A container as `docker inspect` shows it."""

from __future__ import annotations

import ipaddress
from typing import Any

from barque.spi.frontend import Container, ContainerState
from barque.spi.network import Endpoint
from barque_api_docker.translate.hostconfig import host_config, network_mode
from barque_api_docker.translate.lifecycle import health_document, healthcheck_document
from barque_api_docker.translate.mounts import mount_points
from barque_api_docker.translate.ports import port_map
from barque_api_docker.translate.text import rfc3339

__all__ = ["inspect_document", "networks"]


def inspect_document(container: Container) -> dict[str, Any]:
    """The document of `GET /containers/{id}/json`."""
    return {
        "Id": container.id,
        "Created": rfc3339(container.created_ns),
        "Path": container.path,
        "Args": list(container.args),
        "State": _state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": container.resolv_conf_path,
        "HostnamePath": container.hostname_path,
        "HostsPath": container.hosts_path,
        "LogPath": container.log_path,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": container.storage,
        "Platform": container.platform.os,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_config(container),
        "GraphDriver": {"Data": None, "Name": container.storage},
        "Mounts": mount_points(container),
        "Config": _config(container),
        "NetworkSettings": _network_settings(container),
    }


def _state(state: ContainerState) -> dict[str, Any]:
    document = {
        "Status": state.status,
        "Running": state.status in ("running", "paused", "restarting"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_ns),
        "FinishedAt": rfc3339(state.finished_ns),
    }
    return document if state.health is None else {**document, "Health": health_document(state.health)}


def _config(container: Container) -> dict[str, Any]:
    config = container.config
    document: dict[str, Any] = {
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": bool(config.document.get("AttachStdin")),
        "AttachStdout": bool(config.document.get("AttachStdout")),
        "AttachStderr": bool(config.document.get("AttachStderr")),
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": list(config.env),
        "Cmd": _list(config.command),
        "Image": config.image,
        "Volumes": None,
        "WorkingDir": config.working_dir,
        "Entrypoint": _list(config.entrypoint),
        "OnBuild": None,
        "Labels": dict(config.labels),
    }
    if config.exposed_ports:
        document["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    wanted = config.networks.get(config.network)
    if wanted is not None and wanted.mac:
        document["MacAddress"] = wanted.mac
    if config.healthcheck is not None:
        document["Healthcheck"] = healthcheck_document(config.healthcheck)
    if config.document.get("Shell"):
        document["Shell"] = list(config.document["Shell"])
    if config.stop_signal:
        document["StopSignal"] = config.stop_signal
    if config.stop_timeout is not None:
        document["StopTimeout"] = config.stop_timeout
    return document


def _list(words: tuple[str, ...] | None) -> list[str] | None:
    return list(words) if words else None


def _network_settings(container: Container) -> dict[str, Any]:
    shown = networks(container)
    # The addresses beside `Networks` are those of the default network; docker shows them for no other.
    first = shown.get("bridge", _EMPTY_ENDPOINT)
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if container.state.pid else "",
        "Ports": port_map(container),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": first["EndpointID"],
        "Gateway": first["Gateway"],
        "GlobalIPv6Address": first["GlobalIPv6Address"],
        "GlobalIPv6PrefixLen": first["GlobalIPv6PrefixLen"],
        "IPAddress": first["IPAddress"],
        "IPPrefixLen": first["IPPrefixLen"],
        "IPv6Gateway": first["IPv6Gateway"],
        "MacAddress": first["MacAddress"],
        "Networks": shown,
    }


def networks(container: Container) -> dict[str, dict[str, Any]]:
    """`NetworkSettings.Networks`: the endpoints by network name; before the first start the network that was asked for."""
    if not container.endpoints:
        return {network_mode(container): {**_EMPTY_ENDPOINT, "IPAMConfig": _ipam_config(container)}}
    return {name: _endpoint(container, endpoint) for name, endpoint in container.endpoints.items()}


_EMPTY_ENDPOINT: dict[str, Any] = {
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


def _endpoint(container: Container, endpoint: Endpoint) -> dict[str, Any]:
    address4, length4 = _split(endpoint.ipv4)
    address6, length6 = _split(endpoint.ipv6)
    return {
        **_EMPTY_ENDPOINT,
        "IPAMConfig": _ipam_config(container),
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


def _ipam_config(container: Container) -> dict[str, str] | None:
    wanted = container.config.networks.get(container.config.network)
    address = wanted.ipv4 if wanted is not None else ""
    return {"IPv4Address": address} if address else None


def _split(address: str) -> tuple[str, int]:
    if not address:
        return "", 0
    interface = ipaddress.ip_interface(address)
    return str(interface.ip), interface.network.prefixlen
