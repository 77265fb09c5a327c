"""`barque events`."""

from __future__ import annotations

import sys

from barque.cli.client import documents
from barque.cli.context import Context
from barque.cli.filters import filters_parameter
from barque.cli.flags import Command, Values, repeated, text
from barque.cli.times import api_time, event_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["EVENTS"]


def events(context: Context, values: Values) -> int:
    """Show what happens in the engine, until `--until` or an interrupt."""
    show = _shower(values.text("format"))
    query = {
        "since": api_time(values.text("since")),
        "until": api_time(values.text("until")),
        "filters": filters_parameter(values.all("filter")),
    }
    for event in documents(context.client.stream("GET", "/events", query)):
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()
    return 0


def _shower(template: str) -> Callable[[Any], str]:
    if not template:
        return _line
    from barque.cli.gotemplate import Template

    parsed = Template("{{json .}}" if template == "json" else template)
    return parsed.render


def _line(event: Any) -> str:
    actor = event.get("Actor") or {}
    moment = event.get("timeNano") or (event.get("time") or 0) * 1_000_000_000
    words = [event_time(moment), event.get("Type", ""), event.get("Action", ""), actor.get("ID", "")]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    return " ".join(word for word in words if word) + (f" ({attributes})" if attributes else "")


EVENTS = Command(
    summary="Get real time events from the server",
    usage="[OPTIONS]",
    run=events,
    options=(
        repeated("filter", "Filter output based on conditions provided", short="f", metavar="filter"),
        text("format", "Format output: 'json', or a Go template"),
        text("since", "Show all events created since timestamp or duration"),
        text("until", "Stream events until this timestamp or duration"),
    ),
    examples=("barque events --since 10m --filter type=container",),
)
