"""`barque logs`."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.demux import Demultiplexer, write_all
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import Response, segment

__all__ = ["LOGS"]


def logs(context: Context, values: Values) -> int:
    """Show what a container printed, and with `--follow` what it prints."""
    path = f"/containers/{segment(values.arguments[0])}"
    query = {
        "stdout": True,
        "stderr": True,
        "follow": values.flag("follow"),
        "timestamps": values.flag("timestamps"),
        "details": values.flag("details"),
        "tail": values.text("tail"),
        "since": _moment(values, "since"),
        "until": _moment(values, "until"),
    }
    response = context.client.stream("GET", f"{path}/logs", query)
    if _multiplexed(context, path, response):
        output = Demultiplexer(1, 2)
        while piece := response.piece():
            output.feed(piece)
    else:
        while piece := response.piece():
            write_all(1, piece)
    return 0


def _moment(values: Values, name: str) -> str:
    if not values.given(name):
        return ""
    from barque.cli.times import api_time

    return api_time(values.text(name))


def _multiplexed(context: Context, path: str, response: Response) -> bool:
    """Daemons before API 1.42 call both forms a raw stream; then the container's own settings tell."""
    if response.headers.get("content-type", "").endswith("multiplexed-stream"):
        return True
    return not context.client.get(f"{path}/json")["Config"]["Tty"]


LOGS = Command(
    summary="Fetch the logs of a container",
    usage="[OPTIONS] CONTAINER",
    run=logs,
    arguments=(1, 1),
    options=(
        flag("details", "Show extra details provided to logs"),
        flag("follow", "Follow log output", short="f"),
        text("since", 'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")'),
        text("tail", "Number of lines to show from the end of the logs", short="n", default="all"),
        flag("timestamps", "Show timestamps", short="t"),
        text("until", 'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")'),
    ),
    examples=("barque logs -f --tail 100 web", "barque logs --since 10m -t web"),
)
