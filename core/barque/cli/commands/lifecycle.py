"""`barque stop`, `restart`, `kill` and `wait`: one request to each container named."""

from __future__ import annotations

from barque.cli.client import Client
from barque.cli.context import Context
from barque.cli.flags import Command, Values, number, text
from barque.cli.many import for_each
from barque.cli.transport import segment

__all__ = ["KILL", "RESTART", "STOP", "WAIT"]


def stop(context: Context, values: Values) -> int:
    """Stop containers gracefully."""
    return _each(context, values, "stop")


def restart(context: Context, values: Values) -> int:
    """Stop and start containers."""
    return _each(context, values, "restart")


def kill(context: Context, values: Values) -> int:
    """Send containers a signal."""
    return _each(context, values, "kill")


def _each(context: Context, values: Values, verb: str) -> int:
    query = {"signal": values.text("signal") or ("KILL" if verb == "kill" else "")}
    if verb != "kill" and values.given("timeout"):
        query["t"] = str(values.number("timeout"))

    def action(client: Client, name: str) -> None:
        client.post(f"/containers/{segment(name)}/{verb}", query)

    return 1 if for_each(context, values.arguments, action) else 0


def wait(context: Context, values: Values) -> int:
    """Wait until containers end, and print their exit codes."""

    def action(client: Client, name: str) -> str:
        return str(client.post(f"/containers/{segment(name)}/wait")["StatusCode"])

    return 1 if for_each(context, values.arguments, action, lambda _name, code: str(code)) else 0


_NAMES = "[OPTIONS] CONTAINER [CONTAINER...]"
_SIGNAL = text("signal", "Signal to send to the container", short="s")
_TIMEOUT = number(
    "timeout", "Seconds to wait before killing the container (-1: never)", short="t", aliases=("time",)
)

STOP = Command(
    summary="Stop one or more running containers",
    usage=_NAMES,
    run=stop,
    arguments=(1, None),
    options=(_SIGNAL, _TIMEOUT),
    examples=("barque stop web", "barque stop -t 30 db cache"),
)
RESTART = Command(
    summary="Restart one or more containers",
    usage=_NAMES,
    run=restart,
    arguments=(1, None),
    options=(_SIGNAL, _TIMEOUT),
    examples=("barque restart web",),
)
KILL = Command(
    summary="Kill one or more running containers",
    usage=_NAMES,
    run=kill,
    arguments=(1, None),
    options=(_SIGNAL,),
    examples=("barque kill web", "barque kill -s HUP web"),
)
WAIT = Command(
    summary="Block until one or more containers stop, then print their exit codes",
    usage="CONTAINER [CONTAINER...]",
    run=wait,
    arguments=(1, None),
    examples=("barque wait job",),
)
