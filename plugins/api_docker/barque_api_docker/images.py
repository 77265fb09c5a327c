"""Operations on stored images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import translate
from typing import Any

from barque.spi.content import Image
from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Engine
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.platforms import check_platform
from barque_api_docker.sizes import shared_bytes, used_by
from barque_api_docker.translate.image import (
    created_ns,
    history_document,
    image_document,
    image_labels,
    image_summary,
)
from barque_api_docker.translate.moments import moment_ns
from barque_api_docker.translate.names import check_tag, shown_name, split_name
from barque_api_docker.translate.text import familiar_name

__all__ = ["history", "images", "inspect", "remove", "summaries", "tag"]

_ACCEPTED = frozenset({"before", "dangling", "label", "reference", "since", "until"})
_OLD_FILTER_UNTIL = (1, 41)
_MAX_PATTERN = 256


def images(call: Call) -> Response:
    """`GET /images/json`. (`all`: there are no intermediate images to hide.)"""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    dangling = filters.flag("dangling")
    newest, oldest = _bounds(call.engine, filters)
    patterns = _patterns(call, filters)
    everything = call.engine.image_list()
    found = [
        image
        for image in everything
        if oldest < created_ns(image) < newest
        and filters.labels(image_labels(image))
        and (dangling is None or dangling == (not image.names))
    ]
    if patterns:
        default = call.engine.info().default_registry
        found = [named for image in found if (named := _named(image, patterns, default)) is not None]
    found.sort(key=created_ns, reverse=True)
    shared = shared_bytes(everything) if call.query_flag("shared-size") else {}
    return json_response(summaries(call, found, shared))


def summaries(call: Call, images: Iterable[Image], shared: Mapping[str, int]) -> list[dict[str, Any]]:
    """Elements of `GET /images/json`, with the number of their containers and their `shared` bytes by id."""
    users = used_by(call.engine)
    return [
        image_summary(image, call.api_version, users[image.id], shared.get(image.id, -1)) for image in images
    ]


def _bounds(engine: Engine, filters: Filters) -> tuple[float, float]:
    """The open interval of creation times that `before`, `until` and `since` leave."""
    newest = [created_ns(engine.image_get(name)) for name in filters.values("before")]
    newest += [_moment(text) for text in filters.values("until")]
    oldest = [created_ns(engine.image_get(name)) for name in filters.values("since")]
    return min(newest, default=float("inf")), max(oldest, default=float("-inf"))


def _moment(text: str) -> int:
    moment = moment_ns(text)
    if moment is None:
        raise InvalidArgument(f"invalid filter 'until={text}'")
    return moment


def _patterns(call: Call, filters: Filters) -> tuple[str, ...]:
    """The shell patterns for names; before 1.41 also in a parameter of its own."""
    old = call.query("filter") if call.api_version < _OLD_FILTER_UNTIL else None
    patterns = (*filters.values("reference"), *((old,) if old else ()))
    if any(len(pattern) > _MAX_PATTERN for pattern in patterns):
        raise InvalidArgument("invalid filter 'reference': the pattern is too long")
    return patterns


def _named(image: Image, patterns: tuple[str, ...], default_registry: str) -> Image | None:
    """The image with those names that fit one of the shell patterns, short or in full, as Docker shows it; a pattern without a tag
    stands for all tags. None: no name fits."""
    expressions = [re.compile(translate(pattern)) for pattern in map(familiar_name, patterns)]

    def fits(name: str) -> bool:
        forms = [name]
        full = f"{default_registry}/{name}"
        if default_registry != "docker.io" and shown_name(full, default_registry) == name:
            forms.append(full)
        forms += [split_name(form)[0] for form in forms]
        return any(one.fullmatch(form) for one in expressions for form in forms)

    names, digests = tuple(filter(fits, image.names)), tuple(filter(fits, image.digests))
    return replace(image, names=names, digests=digests) if names or digests else None


def inspect(call: Call) -> Response:
    """`GET /images/{name}/json`."""
    name = call.params["name"]
    image = check_platform(call, name, call.engine.image_get(name))
    return json_response(image_document(image, call.engine.info().storage_driver, call.api_version))


def history(call: Call) -> Response:
    """`GET /images/{name}/history`."""
    name = call.params["name"]
    return json_response(history_document(check_platform(call, name, call.engine.image_get(name))))


def remove(call: Call) -> Response:
    """`DELETE /images/{name}`. (`noprune`: there are no untagged parents to keep.)"""
    removed = call.engine.image_remove(call.params["name"], call.query_flag("force"))
    untagged = [{"Untagged": name} for name in removed.untagged]
    return json_response([*untagged, *({"Deleted": digest} for digest in removed.deleted)])


def tag(call: Call) -> Response:
    """`POST /images/{name}/tag`."""
    repository, name = familiar_name(call.query("repo") or ""), check_tag(call.query("tag") or "latest")
    if not repository:
        raise InvalidArgument("invalid reference format", hint="name the repository in the parameter repo")
    call.engine.image_tag(call.params["name"], repository, name)
    return Response(201)
