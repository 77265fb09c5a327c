"""What a log driver is told of the container: chosen labels and environment, the expanded tag, names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from barque.engine.records import StoredContainer
from barque.spi.errors import InvalidArgument
from barque.spi.expressions import expression
from barque.spi.log import CONTAINER_NAME, CONTAINER_TAG, IMAGE_NAME

__all__ = ["check_tag", "log_attributes"]

_DAEMON = "barque"
_SHORT_ID = 12
_DEFAULT_TAG = "{{.ID}}"
_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"\.(\w+)")
_LABEL = re.compile(r'index\s+\.ContainerLabels\s+"([^"]*)"')
_TRUNCATE = re.compile(r"truncate\s+\.(\w+)\s+([0-9]{1,4})")

# Docker's names (its `logger.Info`), https://docs.docker.com/engine/logging/log_tags/
_FIELDS: Mapping[str, Callable[[StoredContainer], str]] = {
    "ID": lambda stored: stored.id[:_SHORT_ID],
    "FullID": lambda stored: stored.id,
    "ContainerID": lambda stored: stored.id,
    "Name": lambda stored: stored.name,
    "ContainerName": lambda stored: f"/{stored.name}",
    "ImageID": lambda stored: stored.image_id.partition(":")[2][:_SHORT_ID],
    "ImageFullID": lambda stored: stored.image_id,
    "ContainerImageID": lambda stored: stored.image_id,
    "ImageName": lambda stored: stored.config.image,
    "ContainerImageName": lambda stored: stored.config.image,
    "Command": lambda stored: " ".join((stored.path, *stored.args)),
    "ContainerEntrypoint": lambda stored: stored.path,
    "Hostname": lambda _: os.uname().nodename,
    "DaemonName": lambda _: _DAEMON,
}


def log_attributes(stored: StoredContainer, described: bool) -> dict[str, str]:
    """`LogSpec.attributes` of a container. `described`: for a driver with `LogCapability.CONTAINER`."""
    options = stored.log_options
    found = _chosen(stored.config.labels, options.get("labels", ""), options.get("labels-regex", ""))
    env = dict(entry.split("=", 1) for entry in stored.config.env if "=" in entry)
    found |= _chosen(env, options.get("env", ""), options.get("env-regex", ""))
    tag = options.get("tag", "")
    if described:
        found[CONTAINER_NAME], found[IMAGE_NAME] = stored.name, stored.config.image
        found[CONTAINER_TAG] = _expand(tag or _DEFAULT_TAG, stored)
    elif tag:
        found["tag"] = _expand(tag, stored)
    return found


def check_tag(tag: str) -> None:
    """Errors: InvalidArgument when a template asks for what there is not."""
    for action in _ACTION.findall(tag):
        if not _known(action.strip()):
            raise InvalidArgument(
                f"failed to initialize logging driver: invalid tag template: {{{{{action}}}}}",
                hint=f"known are {', '.join('{{.' + name + '}}' for name in _FIELDS)}",
            )


def _known(action: str) -> bool:
    field = _FIELD.fullmatch(action) or _TRUNCATE.fullmatch(action)
    return field[1] in _FIELDS if field else bool(_LABEL.fullmatch(action))


def _expand(template: str, stored: StoredContainer) -> str:
    def value(match: re.Match[str]) -> str:
        action = match[1].strip()
        if label := _LABEL.fullmatch(action):
            return stored.config.labels.get(label[1], "")
        if cut := _TRUNCATE.fullmatch(action):
            return _FIELDS[cut[1]](stored)[: int(cut[2])]
        return _FIELDS[action[1:]](stored)

    check_tag(template)
    return _ACTION.sub(value, template)


def _chosen(values: Mapping[str, str], names: str, regex: str) -> dict[str, str]:
    """Those named in a comma-separated list, or that the expression matches anywhere."""
    wanted = {name.strip() for name in names.split(",")}
    matches = expression(regex) if regex else None
    return {
        name: value
        for name, value in values.items()
        if name in wanted or (matches is not None and matches(name))
    }
