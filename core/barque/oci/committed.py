"""The config of an image that a container is committed to (OCI image-spec, "config"), filled as dockerd fills it.

The run config is the container's own, which holds its image's already; `docker commit --change` and the request's config
overrule it, field by field, by the rules that also merge an image's config into a container's (moby, `daemon/commit.go`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from barque.spi.frontend import ContainerConfig

__all__ = ["image_config", "merged", "run_config"]

_INHERITED = ("architecture", "os", "os.version", "os.features", "variant")
_OF_THE_IMAGE = ("Volumes", "Healthcheck", "Shell")


def run_config(container: ContainerConfig, image: Mapping[str, Any]) -> dict[str, Any]:
    """A container's run config in Docker's spelling; `image` is the run config of its image."""
    stop = {} if container.stop_timeout is None else {"StopTimeout": container.stop_timeout}
    config: dict[str, Any] = {
        "User": container.user,
        "ExposedPorts": {port: {} for port in container.exposed_ports},
        "Env": list(container.env),
        "Entrypoint": list(container.entrypoint or ()),
        "Cmd": list(container.command or ()),
        "WorkingDir": container.working_dir,
        "Labels": dict(container.labels),
        "StopSignal": container.stop_signal,
        **stop,
        **{name: image[name] for name in _OF_THE_IMAGE if image.get(name)},
    }
    return _filled(config)


def merged(chosen: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """`chosen`, and from the container's run config what `chosen` does not say. A chosen entrypoint takes the container's
    command away."""
    config = {**container, **_filled(chosen)}
    for name in ("ExposedPorts", "Labels", "Volumes"):
        both = {**(container.get(name) or {}), **(chosen.get(name) or {})}
        if both:
            config[name] = both
    env = list(chosen.get("Env") or ())
    own = {entry.partition("=")[0] for entry in env}
    env += (entry for entry in container.get("Env") or () if entry.partition("=")[0] not in own)
    if env:
        config["Env"] = env
    if chosen.get("Entrypoint") and not chosen.get("Cmd"):
        config.pop("Cmd", None)
    return config


def image_config(
    parent: Mapping[str, Any],
    config: Mapping[str, Any],
    diff_ids: Sequence[str],
    step: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole document. `step` is the history entry of this commit, which also tells author and time of the image."""
    history = parent.get("history")
    document = {name: parent[name] for name in _INHERITED if parent.get(name)}
    return {
        **document,
        **({"author": step["author"]} if step.get("author") else {}),
        "created": step["created"],
        "config": dict(config),
        "history": [*(history if isinstance(history, list) else ()), dict(step)],
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without fields that say nothing."""
    return {name: value for name, value in config.items() if value not in (None, "", [], {}, ())}
