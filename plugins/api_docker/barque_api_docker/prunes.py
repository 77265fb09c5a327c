"""`POST /…/prune`: removing what nothing uses. Of what Barque does not have (build caches), nothing is removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from barque.spi.content import Image, Pruned
from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque.spi.frontend import Container
from barque_api_docker.call import Call, json_response
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.sizes import written_bytes
from barque_api_docker.translate.image import created_ns, image_labels
from barque_api_docker.translate.moments import moment_ns

__all__ = ["build_cache", "containers", "images", "labelled", "until"]

_COMMON = frozenset({"label", "label!", "until"})
_BUILD_CACHE = frozenset({
    "description", "id", "inuse", "mutable", "parent", "private", "shared", "type", "unused-for", "until",
})  # fmt: skip


def images(call: Call) -> Response:
    """`POST /images/prune`: images without a container and, unless `dangling=false`, without a name."""
    filters = Filters.parse(call.query("filters"), _COMMON | {"dangling"})
    dangling = filters.flag("dangling")
    moment = until(filters)

    def accepts(image: Image) -> bool:
        return (
            (dangling is False or not image.names)
            and (moment is None or created_ns(image) <= moment)
            and labelled(filters, image_labels(image))
        )

    return json_response(_pruned(call.engine.image_prune(accepts)))


def _pruned(pruned: Pruned) -> dict[str, Any]:
    steps: list[dict[str, str]] = []
    for removed in pruned.removed:
        steps += ({"Untagged": name} for name in removed.untagged)
        steps += ({"Deleted": digest} for digest in removed.deleted)
    return {"ImagesDeleted": steps or None, "SpaceReclaimed": pruned.bytes}


def containers(call: Call) -> Response:
    """`POST /containers/prune`: those that do not run."""
    filters = Filters.parse(call.query("filters"), _COMMON)
    moment = until(filters)
    doomed = [
        one
        for one in call.engine.container_list()
        if one.state.status in ("created", "exited", "dead")
        and (moment is None or one.created_ns <= moment)
        and labelled(filters, one.config.labels)
    ]
    sizes = written_bytes(call.engine) if doomed else {}
    removed = [one.id for one in doomed if _remove(call.engine.container_remove, one)]
    reclaimed = sum(sizes.get(id, 0) for id in removed)
    call.engine.pruned("container", reclaimed)
    return json_response({"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed})


def _remove(remove: Callable[[str, bool], None], container: Container) -> bool:
    """False when it was started, or removed by another, since it was listed."""
    try:
        remove(container.id, False)
    except (Conflict, NotFound):
        return False
    return True


def build_cache(call: Call) -> Response:
    """`POST /build/prune`."""
    Filters.parse(call.query("filters"), _BUILD_CACHE)
    call.engine.pruned("builder", 0)
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


def until(filters: Filters) -> int | None:
    """The time, in ns, after which nothing is removed. Errors: InvalidArgument."""
    values = filters.values("until")
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    if not values:
        return None
    moment = moment_ns(values[0])
    if moment is None:
        raise InvalidArgument(f'failed to parse value as time or duration: "{values[0]}"')
    return moment


def labelled(filters: Filters, labels: Mapping[str, str]) -> bool:
    """Whether the filters `label` and `label!` let an object with these labels be removed."""
    unwanted = "label!" in filters and filters.labels(labels, "label!")
    return filters.labels(labels) and not unwanted
