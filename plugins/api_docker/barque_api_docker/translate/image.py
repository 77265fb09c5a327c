"""Images as Docker shows them."""

from __future__ import annotations

from typing import Any

from barque.spi.content import Image
from barque_api_docker.translate.text import epoch_seconds, familiar_name, rfc3339

__all__ = ["history_document", "image_document", "image_summary", "repo_digests", "repo_tags"]


def repo_tags(image: Image) -> list[str]:
    """`repository:tag`s in Docker's short form."""
    return [familiar_name(name) for name in image.names]


def repo_digests(image: Image) -> list[str]:
    """`repository@digest`s in Docker's short form."""
    return [familiar_name(name) for name in image.digests]


def image_summary(image: Image, containers: int) -> dict[str, Any]:
    """One element of `GET /images/json`. `containers`: how many use it, -1 for not counted."""
    return {
        "Containers": containers,
        "Created": epoch_seconds(_created(image)),
        "Id": image.id,
        "Labels": _config(image).get("Labels"),
        "ParentId": "",
        "RepoDigests": repo_digests(image),
        "RepoTags": repo_tags(image),
        "SharedSize": -1,
        "Size": image.size,
    }


def image_document(image: Image, driver: str) -> dict[str, Any]:
    """The document of `GET /images/{name}/json`."""
    history = image.config.get("history") or [{}]
    document = {
        "Id": image.id,
        "RepoTags": repo_tags(image),
        "RepoDigests": repo_digests(image),
        "Parent": "",
        "Comment": _last(history).get("comment", ""),
        "Created": _created(image) or None,
        "DockerVersion": "",
        "Author": image.config.get("author", ""),
        "Config": _run_config(image),
        "Architecture": image.platform.architecture,
        "Os": image.platform.os,
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": driver},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.pulled_ns)},
    }
    if image.platform.variant:
        document["Variant"] = image.platform.variant
    return document


def history_document(image: Image) -> list[dict[str, Any]]:
    """The document of `GET /images/{name}/history`, newest step first. A layer's own size is not known: 0."""
    steps = [step for step in reversed(image.config.get("history") or ()) if isinstance(step, dict)]
    return [
        {
            "Comment": step.get("comment", ""),
            "Created": epoch_seconds(str(step.get("created", ""))),
            "CreatedBy": step.get("created_by", ""),
            "Id": "<missing>" if index else image.id,
            "Size": 0,
            "Tags": None if index else repo_tags(image),
        }
        for index, step in enumerate(steps)
    ]


def _created(image: Image) -> str:
    return str(image.config.get("created") or "")


def _config(image: Image) -> dict[str, Any]:
    config = image.config.get("config")
    return config if isinstance(config, dict) else {}


def _last(history: Any) -> dict[str, Any]:
    last = history[-1] if isinstance(history, list) else {}
    return last if isinstance(last, dict) else {}


def _run_config(image: Image) -> dict[str, Any]:
    """The image's defaults, as Docker spells them; the OCI config has the same names."""
    config = _config(image)
    empty = {
        "User": "",
        "Env": None,
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
    }
    known = (*empty, "ExposedPorts", "Healthcheck", "StopSignal", "Shell", "ArgsEscaped")
    return {**empty, **{name: config[name] for name in known if config.get(name) is not None}}
