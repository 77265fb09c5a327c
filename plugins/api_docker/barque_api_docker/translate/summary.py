"""A container as `docker ps` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.spi.frontend import Container, ContainerState
from barque_api_docker.translate.endpoint import networks
from barque_api_docker.translate.hostconfig import network_mode
from barque_api_docker.translate.lifecycle import health_text
from barque_api_docker.translate.mountpoints import mount_points
from barque_api_docker.translate.ports import port_summary
from barque_api_docker.translate.text import age

__all__ = ["status_text", "summary_document"]


def summary_document(container: Container, image: str, network_ids: Mapping[str, str]) -> dict[str, Any]:
    """One element of `GET /containers/json`. `image` is the image's name, or its id when the name means another by now."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": image,
        "ImageID": container.image_id,
        "Command": _command(container),
        "Created": container.created_ns // 1_000_000_000,
        "Ports": port_summary(container),
        "Labels": dict(container.config.labels),
        "State": container.state.status,
        "Status": status_text(container),
        "HostConfig": {"NetworkMode": network_mode(container)},
        "NetworkSettings": {"Networks": networks(container, network_ids)},
        "Mounts": mount_points(container),
    }


def _command(container: Container) -> str:
    words = (f"'{word}'" if " " in word else word for word in container.args)
    return " ".join((container.path, *words))


def status_text(container: Container) -> str:
    """`Up 3 seconds`, `Exited (0) 2 minutes ago`, `Created` …"""
    state = container.state
    if state.status in ("running", "paused"):
        return f"Up {age(state.started_ns)}{_condition(state)}"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {age(state.finished_ns)} ago"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if state.status == "created" or not state.finished_ns:
        return "Created"
    return f"Exited ({state.exit_code}) {age(state.finished_ns)} ago"


def _condition(state: ContainerState) -> str:
    if state.status == "paused":
        return " (Paused)"
    return f" ({health_text(state.health)})" if state.health is not None else ""
