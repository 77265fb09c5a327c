"""Images as Docker shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.spi.content import Image
from barque_api_docker.translate.moments import calendar_ns
from barque_api_docker.translate.text import rfc3339

__all__ = [
    "created_ns",
    "history_document",
    "image_document",
    "image_labels",
    "image_summary",
    "repo_digests",
    "repo_tags",
]

Version = tuple[int, int]

# Since these versions: untagged images have empty lists, not <none>; no VirtualSize; no Container; no fields of containers.
_EMPTY_LISTS: Version = (1, 43)
_NO_VIRTUAL_SIZE: Version = (1, 44)
_NO_CONTAINER: Version = (1, 45)
_IMAGE_CONFIG: Version = (1, 50)
_ZERO_TIME = -62135596800


def repo_tags(image: Image) -> list[str]:
    """`repository:tag`s in Docker's short form, as the engine has them: it knows the default registry."""
    return list(image.names)


def repo_digests(image: Image) -> list[str]:
    """`repository@digest`s in Docker's short form."""
    return list(image.digests)


def image_labels(image: Image) -> Mapping[str, str]:
    """The labels of the image's config."""
    labels = _config(image).get("Labels")
    return labels if isinstance(labels, dict) else {}


def created_ns(image: Image) -> int:
    """When it was made, in ns since the epoch; 0 when it does not say."""
    return max(0, calendar_ns(_created(image)) or 0)


def image_summary(image: Image, version: Version, containers: int, shared: int) -> dict[str, Any]:
    """One element of `GET /images/json`. `containers` made of it; `shared`: bytes in layers that other images have, too.
    -1 of either: not counted."""
    tags, digests = repo_tags(image), repo_digests(image)
    if version < _EMPTY_LISTS and not tags and not digests:
        tags, digests = ["<none>:<none>"], ["<none>@<none>"]
    document = {
        "Containers": containers,
        "Created": _seconds(_created(image)),
        "Id": image.id,
        "Labels": _config(image).get("Labels"),
        "ParentId": "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": shared,
        "Size": image.size,
    }
    return document | _virtual_size(image, version)


def image_document(image: Image, driver: str, version: Version) -> dict[str, Any]:
    """The document of `GET /images/{name}/json`."""
    document = {
        "Id": image.id,
        "RepoTags": repo_tags(image),
        "RepoDigests": repo_digests(image),
        "Parent": "",
        "Comment": _comment(image),
        "DockerVersion": str(image.config.get("docker_version") or ""),
        "Author": str(image.config.get("author") or ""),
        "Config": _run_config(image, version),
        "Architecture": image.platform.architecture,
        "Os": image.platform.os,
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": driver},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.pulled_ns)},
    }
    if image.platform.variant:
        document["Variant"] = image.platform.variant
    if created := _created(image):
        document["Created"] = created
    elif version < _NO_VIRTUAL_SIZE:
        document["Created"] = rfc3339(0)
    if version < _NO_CONTAINER:
        document |= {"Container": "", "ContainerConfig": {**_CONTAINER_FIELDS, **_IMAGE_FIELDS}}
    return document | _virtual_size(image, version)


def history_document(image: Image) -> list[dict[str, Any]]:
    """The document of `GET /images/{name}/history`, newest step first. A step's size is that of the layer it made."""
    sizes = iter(image.layer_sizes)
    steps = [
        (step, 0 if step.get("empty_layer") else next(sizes, 0))
        for step in image.config.get("history") or ()
        if isinstance(step, dict)
    ]
    return [
        {
            "Comment": step.get("comment", ""),
            "Created": _seconds(str(step.get("created", ""))),
            "CreatedBy": step.get("created_by", ""),
            "Id": "<missing>" if index else image.id,
            "Size": size,
            "Tags": None if index else repo_tags(image) or None,
        }
        for index, (step, size) in enumerate(reversed(steps))
    ]


def _seconds(text: str) -> int:
    """A time as seconds since the epoch; Go's zero time, which clients know as none, when there is none."""
    moment = calendar_ns(text)
    return _ZERO_TIME if moment is None else moment // 1_000_000_000


def _virtual_size(image: Image, version: Version) -> dict[str, int]:
    return {"VirtualSize": image.size} if version < _NO_VIRTUAL_SIZE else {}


def _created(image: Image) -> str:
    return str(image.config.get("created") or "")


def _config(image: Image) -> dict[str, Any]:
    config = image.config.get("config")
    return config if isinstance(config, dict) else {}


def _comment(image: Image) -> str:
    """The image's own, or that of the last step that made it."""
    history = image.config.get("history")
    last = history[-1] if isinstance(history, list) and history else {}
    own = image.config.get("comment") or (last.get("comment") if isinstance(last, dict) else "")
    return str(own or "")


_IMAGE_FIELDS: dict[str, Any] = {
    "User": "",
    "Env": None,
    "Cmd": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
# Fields of a container's config that older versions showed of an image, too; they never had a value.
_CONTAINER_FIELDS: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}
_OPTIONAL = ("ExposedPorts", "Healthcheck", "StopSignal", "Shell", "ArgsEscaped")


def _run_config(image: Image, version: Version) -> dict[str, Any]:
    """The image's defaults, as Docker spells them; the OCI config has the same names."""
    config = _config(image)
    own = {name: config[name] for name in (*_IMAGE_FIELDS, *_OPTIONAL) if config.get(name) is not None}
    legacy = _CONTAINER_FIELDS if version < _IMAGE_CONFIG else {}
    return {**legacy, **_IMAGE_FIELDS, **own}
