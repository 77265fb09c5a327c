"""A container as `docker inspect` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.spi.frontend import Container, ContainerState
from barque_api_docker.translate.endpoint import network_settings
from barque_api_docker.translate.hostconfig import host_config
from barque_api_docker.translate.lifecycle import health_document, healthcheck_document
from barque_api_docker.translate.mountpoints import declared_volumes, mount_points
from barque_api_docker.translate.text import rfc3339
from barque_api_docker.version import API_VERSION

__all__ = ["inspect_document"]


def inspect_document(
    container: Container, network_ids: Mapping[str, str], version: tuple[int, int] = API_VERSION
) -> dict[str, Any]:
    """The document of `GET /containers/{id}/json`, in this version of the API. `network_ids`: by their names."""
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
        "NetworkSettings": network_settings(container, version, network_ids),
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
        "Volumes": declared_volumes(container),
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
