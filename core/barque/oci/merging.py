"""What an image adds to a container's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.oci.health import inherit
from barque.spi.container import ContainerConfig

__all__ = ["merge_image"]


def merge_image(config: ContainerConfig, image: Mapping[str, Any]) -> dict[str, Any]:
    """What the image's own `config` object adds, as fields of `ContainerConfig` to replace."""
    changes: dict[str, Any] = {}
    command, entrypoint = config.command, config.entrypoint
    if entrypoint is None:
        if not command:
            command = _tuple(image.get("Cmd"))
        entrypoint = _tuple(image.get("Entrypoint"))
    changes["command"], changes["entrypoint"] = command, entrypoint
    own = {entry.partition("=")[0] for entry in config.env}
    changes["env"] = (*config.env, *(e for e in image.get("Env") or () if e.partition("=")[0] not in own))
    changes["working_dir"] = config.working_dir or image.get("WorkingDir") or ""
    changes["user"] = config.user or image.get("User") or ""
    changes["labels"] = {**(image.get("Labels") or {}), **config.labels}
    changes["stop_signal"] = config.stop_signal or image.get("StopSignal") or ""
    changes["healthcheck"] = inherit(config.healthcheck, image.get("Healthcheck"))
    exposed = dict.fromkeys([*config.exposed_ports, *(image.get("ExposedPorts") or {})])
    changes["exposed_ports"] = tuple(exposed)
    return changes


def _tuple(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if value else None
