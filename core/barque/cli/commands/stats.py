"""`barque stats`."""

from __future__ import annotations

import sys
import time

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, render
from barque.cli.units import binary_size, human_size
from barque.cli.watching import Watch, Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["STATS"]

_PERIOD = 0.5
_HEADINGS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Container": "CONTAINER",
}


def stats(context: Context, values: Values) -> int:
    """Show what containers use, again and again until interrupted, or once."""
    stream, names = not values.flag("no-stream"), values.arguments
    if values.flag("chart") and (not stream or values.given("format")):
        raise CliError("conflicting options: --chart goes with neither --no-stream nor --format")
    listing, template = _listing(values.flag("no-trunc")), values.text("format")
    render(listing, [], template)  # a wrong template is told before anything is waited for
    watch = Watch(context, stream=stream)
    if stream and not names:
        watch.follow_events(every=values.flag("all"))
    for name in names or _running(context, every=values.flag("all")):
        watch.add(name, named=bool(names))
    _await_first(watch, names)
    if not stream:
        sys.stdout.write(render(listing, watch.all(), template))
    elif values.flag("chart"):
        from barque.cli.charts import show_charts

        show_charts(watch, keep_going=not names)
    else:
        _show(watch, listing, template, keep_going=not names)
    return 0


def _running(context: Context, *, every: bool) -> list[str]:
    return [row["Id"] for row in context.client.get("/containers/json", {"all": every})]


def _await_first(watch: Watch, names: list[str]) -> None:
    """Wait for a sample of each; a container that was named must have one. Raises CliError."""
    failures = []
    for watched in watch.all():
        watched.first.wait()
        if names and watched.error is not None:
            failures.append(watched.error.message)
        elif not names and getattr(watched.error, "status", 0) == 404:
            watch.drop(watched.container)  # gone since it was listed
    if failures:
        raise CliError("\n".join(failures))


def _show(watch: Watch, listing: Listing, template: str, *, keep_going: bool) -> None:
    """Write the table over the one before, so that the terminal does not flicker."""
    while (rows := watch.all()) or keep_going:
        text = render(listing, rows, template)
        shown = "".join(f"{line}\033[K\n" for line in text.split("\n")[:-1])
        sys.stdout.write(f"\033[H{shown}\033[J")
        sys.stdout.flush()
        if rows and all(row.error is not None for row in rows) and not keep_going:
            return
        time.sleep(_PERIOD)


def _listing(long: bool) -> Listing:
    def known(show: Any, unknown: str = "--") -> Any:
        return lambda watched: unknown if watched.usage is None else show(watched.usage)

    columns = {
        "ID": lambda watched: _identity(watched, long),
        "Name": known(lambda usage: usage.name),
        "CPUPerc": known(lambda usage: f"{usage.cpu:.2f}%"),
        "MemUsage": known(
            lambda usage: f"{binary_size(usage.memory)} / {binary_size(usage.limit)}", "-- / --"
        ),
        "MemPerc": known(lambda usage: f"{usage.memory_share:.2f}%"),
        "NetIO": known(lambda usage: f"{human_size(usage.received)} / {human_size(usage.sent)}"),
        "BlockIO": known(lambda usage: f"{human_size(usage.read)} / {human_size(usage.written)}"),
        "PIDs": known(lambda usage: str(usage.pids)),
        "Container": lambda watched: watched.container if watched.named else _identity(watched, False),
    }
    return Listing(columns=columns, headings=_HEADINGS, default=tuple(_HEADINGS)[:-1], quiet="ID")


def _identity(watched: Watched, long: bool) -> str:
    identity = watched.usage.id if watched.usage is not None else watched.container
    return identity if long else identity[:12]


STATS = Command(
    summary="Display a live stream of container(s) resource usage statistics",
    usage="[OPTIONS] [CONTAINER...]",
    run=stats,
    arguments=(0, None),
    options=(
        flag("all", "Show all containers (default shows just running)", short="a"),
        flag("chart", "Show the last minute of each container as a chart"),
        text("format", FORMAT_HELP),
        flag("no-stream", "Disable streaming stats and only pull the first result"),
        flag("no-trunc", "Do not truncate output"),
    ),
    examples=(
        "barque stats",
        "barque stats --chart",
        "barque stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}' web db",
    ),
)
