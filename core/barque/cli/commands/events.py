"""`barque events`."""

from __future__ import annotations

import sys

from barque.cli.client import documents
from barque.cli.context import Context
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, text
from barque.cli.times import api_time, event_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["EVENTS"]


# What events had before API 1.22, empty in ours.
_OLD_FIELDS = {"status": "", "id": "", "from": ""}
# Docker's exit code for a template that does not parse, or does not fit.
_BAD_TEMPLATE = 64


def events(context: Context, values: Values) -> int:
    """Show what happens in the engine, until `--until` or an interrupt."""
    show = _shower(values.text("format"))
    query = {
        "since": api_time(values.text("since")),
        "until": api_time(values.text("until")),
        "filters": filters_parameter(values.all("filter")),
    }
    for event in documents(context.client.stream("GET", "/events", query)):
        event["Actor"] = actor = event.get("Actor") or {}
        # A map, which Go writes in this order.
        actor["Attributes"] = dict(sorted((actor.get("Attributes") or {}).items()))
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()
    return 0


def _shower(template: str) -> Callable[[Any], str]:
    if not template:
        return _line
    from barque.cli.gotemplate import Template, TemplateError

    whole = template == "json" or "json ." in template
    try:
        parsed = Template("{{json .}}" if template == "json" else template)
    except TemplateError as error:
        error.exit_code = _BAD_TEMPLATE
        raise

    def show(event: Any) -> str:
        try:
            return parsed.render(event if whole else {**_OLD_FIELDS, **event})
        except TemplateError as error:
            error.exit_code = _BAD_TEMPLATE
            raise

    return show


def _line(event: Any) -> str:
    actor = event.get("Actor") or {}
    moment = event.get("timeNano") or (event.get("time") or 0) * 1_000_000_000
    words = [event_time(moment), event.get("Type", ""), event.get("Action", ""), actor.get("ID", "")]
    attributes = ", ".join(f"{key}={value}" for key, value in actor["Attributes"].items())
    return " ".join(word for word in words if word) + (f" ({attributes})" if attributes else "")


EVENTS = Command(
    summary="Get real time events from the server",
    usage="[OPTIONS]",
    run=events,
    options=(
        filter_option("Filter output based on conditions provided", "f"),
        text("format", "Format output: 'json', or a Go template"),
        text("since", "Show all events created since timestamp or duration"),
        text("until", "Stream events until this timestamp or duration"),
    ),
    examples=("barque events --since 10m --filter type=container",),
)
