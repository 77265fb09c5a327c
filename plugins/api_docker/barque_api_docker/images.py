"""Operations on stored images."""

from __future__ import annotations

import re
import time
from fnmatch import translate

from barque.spi.content import Image
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Engine
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.translate.image import (
    history_document,
    image_document,
    image_summary,
    repo_digests,
    repo_tags,
)
from barque_api_docker.translate.text import epoch_seconds, familiar_name

__all__ = ["history", "images", "inspect", "remove", "tag"]

_ACCEPTED = frozenset({"before", "dangling", "label", "reference", "since", "until"})
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def images(call: Call) -> Response:
    """`GET /images/json`."""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    dangling = filters.flag("dangling")
    newest, oldest = _bounds(call.engine, filters)
    found = [
        image
        for image in call.engine.image_list()
        if oldest < _created(image) < newest
        and filters.labels((image.config.get("config") or {}).get("Labels") or {})
        and (dangling is None or dangling == (not image.names))
        and _named(image, filters.values("reference"))
    ]
    found.sort(key=_created, reverse=True)
    return json_response([image_summary(image, -1) for image in found])


def _created(image: Image) -> int:
    return epoch_seconds(str(image.config.get("created") or ""))


def _bounds(engine: Engine, filters: Filters) -> tuple[float, float]:
    """The open interval of creation times that `before`, `until` and `since` leave."""
    newest = [_created(engine.image_get(name)) for name in filters.values("before")]
    newest += [_moment(text) for text in filters.values("until")]
    oldest = [_created(engine.image_get(name)) for name in filters.values("since")]
    return min(newest, default=float("inf")), max(oldest, default=float("-inf"))


_UNITS = {"s": 1, "m": 60, "h": 3600}


def _moment(text: str) -> int:
    """`until`: seconds since the epoch, an RFC 3339 time, or how long ago (`24h`)."""
    if text.isascii() and text.isdigit():
        return int(text)
    if re.fullmatch(r"(\d{1,9}[smh])+", text):
        ago = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", text))
        return int(time.time()) - ago
    if moment := epoch_seconds(text):
        return moment
    raise InvalidArgument(f"invalid filter 'until={text}'")


def _named(image: Image, patterns: tuple[str, ...]) -> bool:
    """Whether a name fits one of the shell patterns; a pattern without a tag stands for all tags."""
    if not patterns:
        return True
    names = [*repo_tags(image), *repo_digests(image)]
    for pattern in map(familiar_name, patterns):
        expression = re.compile(translate(pattern))
        for name in names:
            repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
            if pattern == name or expression.fullmatch(name) or expression.fullmatch(repository):
                return True
    return False


def inspect(call: Call) -> Response:
    """`GET /images/{name}/json`."""
    image = call.engine.image_get(call.params["name"])
    return json_response(image_document(image, call.engine.info().storage_driver))


def history(call: Call) -> Response:
    """`GET /images/{name}/history`."""
    return json_response(history_document(call.engine.image_get(call.params["name"])))


def remove(call: Call) -> Response:
    """`DELETE /images/{name}`. (`noprune`: there are no untagged parents to keep.)"""
    removed = call.engine.image_remove(call.params["name"], call.query_flag("force"))
    untagged = [{"Untagged": familiar_name(name)} for name in removed.untagged]
    return json_response([*untagged, *({"Deleted": digest} for digest in removed.deleted)])


def tag(call: Call) -> Response:
    """`POST /images/{name}/tag`."""
    repository, name = call.query("repo") or "", call.query("tag") or "latest"
    if not repository:
        raise InvalidArgument("invalid reference format", hint="name the repository in the parameter repo")
    if not _TAG.fullmatch(name):
        raise InvalidArgument(f'invalid tag: "{name}"')
    call.engine.image_tag(call.params["name"], repository, name)
    return Response(201)
