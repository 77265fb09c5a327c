"""`GET /events`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Event
from barque_api_docker.call import Call
from barque_api_docker.filters import Filters
from barque_api_docker.translate.names import split_name

__all__ = ["events", "listeners"]

_POLL_SECONDS = 1.0
_SECOND = 1_000_000_000
_OBJECTS = (
    "builder",
    "config",
    "container",
    "daemon",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
)
_listening: set[object] = set()


def events(call: Call) -> None:
    """Events as JSON lines until `until`, or until the client leaves. A filter dockerd does not know it does not apply."""
    filters = Filters.parse(call.query("filters"), None)
    since, until = call.query_time("since"), call.query_time("until")
    if since is not None and until is not None and until < since:
        begin, end = since // _SECOND, until // _SECOND
        raise InvalidArgument(f"`since` time ({begin}) cannot be after `until` time ({end})")
    with closing(call.engine.events(since, until)) as subscription, _counted(subscription):
        stream = call.stream("application/json")
        while not call.gone():
            left = _POLL_SECONDS if until is None else (until - time.time_ns()) / _SECOND
            event = subscription.next(max(0.0, min(left, _POLL_SECONDS)))
            if event is None and left <= 0:
                stream.close()
                return
            if event is not None and _wanted(event, filters):
                stream.write_json(_document(event))
    call.last = True


def listeners() -> int:
    """How many clients read events now."""
    return len(_listening)


@contextmanager
def _counted(subscription: object) -> Iterator[None]:
    _listening.add(subscription)
    try:
        yield
    finally:
        _listening.discard(subscription)


def _wanted(event: Event, filters: Filters) -> bool:
    return (
        # dockerd: `exec_create` stands for `exec_create: command`
        filters.exact("event", event.action, event.action.partition(":")[0])
        and filters.exact("type", event.type)
        and filters.exact("scope", "local")
        and filters.labels(event.attributes)
        and all(_is_about(event, kind, filters) for kind in _OBJECTS)
        and _about_image(event, filters)
    )


def _is_about(event: Event, kind: str, filters: Filters) -> bool:
    """An event of an object of `kind`, named or told by the beginning of its id or name."""
    if kind not in filters:
        return True
    names = [event.actor_id, event.attributes.get("name", "")] if event.type == kind else []
    return any(filters.exact(kind, name) or filters.prefixes(kind, name) for name in names if name)


def _about_image(event: Event, filters: Filters) -> bool:
    """An event of the image, or of a container made of it; its name without the tag is good, too."""
    if "image" not in filters:
        return True
    if event.type not in ("container", "image"):
        return False
    named = "image" if event.type == "container" else "name"
    names = (event.actor_id, event.attributes.get(named, ""))
    return filters.exact("image", *names, *(split_name(name)[0] for name in names if name))


def _document(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.time_ns // 1_000_000_000,
        "timeNano": event.time_ns,
    }
    if event.type in ("container", "image"):
        id = {"id": event.actor_id} if event.actor_id else {}  # a prune is of none
        document = {"status": event.action, **id, **document}
    if event.type == "container" and event.actor_id:
        document["from"] = event.attributes.get("image", "")
    return document
