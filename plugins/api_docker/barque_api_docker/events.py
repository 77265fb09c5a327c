"""`GET /events`."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from barque.spi.frontend import Event
from barque_api_docker.call import Call
from barque_api_docker.filters import Filters

__all__ = ["events"]

_POLL_SECONDS = 1.0
_ACCEPTED = frozenset({
    "builder", "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope",
    "secret", "service", "type", "volume",
})  # fmt: skip


def events(call: Call) -> None:
    """Events as JSON lines until `until`, or until the client leaves."""
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    since, until = call.query_time("since"), call.query_time("until")
    with closing(call.engine.events(since, until)) as subscription:
        stream = call.stream("application/json")
        while not call.gone():
            left = _POLL_SECONDS if until is None else (until - time.time_ns()) / 1e9
            event = subscription.next(max(0.0, min(left, _POLL_SECONDS)))
            if event is None and left <= 0:
                stream.close()
                return
            if event is not None and _wanted(event, filters):
                stream.write_json(_document(event))
    call.last = True


def _wanted(event: Event, filters: Filters) -> bool:
    names = (event.actor_id, event.attributes.get("name", ""))
    return (
        # dockerd: `exec_create` stands for `exec_create: command`
        filters.exact("event", event.action, event.action.partition(":")[0])
        and filters.exact("type", event.type)
        and filters.exact("scope", "local")
        and filters.labels(event.attributes)
        and (_is_about(event, "container", filters, (*names, event.attributes.get("container", ""))))
        and (_is_about(event, "network", filters, names))
        and (_is_about(event, "daemon", filters, names))
        and _about_image(event, filters)
        and not any(
            name in filters for name in ("builder", "config", "node", "plugin", "secret", "service", "volume")
        )
    )


def _is_about(event: Event, kind: str, filters: Filters, names: tuple[str, ...]) -> bool:
    if kind not in filters:
        return True
    return event.type == kind and any(
        filters.exact(kind, name) or filters.prefixes(kind, name) for name in names if name
    )


def _about_image(event: Event, filters: Filters) -> bool:
    if "image" not in filters:
        return True
    name = (
        event.attributes.get("image", "") if event.type == "container" else event.attributes.get("name", "")
    )
    if event.type not in ("container", "image"):
        return False
    return filters.exact("image", name, name.rpartition(":")[0] or name, event.actor_id)


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
        document = {"status": event.action, "id": event.actor_id, **document}
    if event.type == "container":
        document["from"] = event.attributes.get("image", "")
    return document
