"""`barque attach`."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ATTACH"]


def attach(context: Context, values: Values) -> int:
    """Connect to a running container until it ends or the user detaches; its exit code is ours."""
    from barque.cli.attaching import await_exit, check_terminal, container_signals, converse, resizer

    client = context.client
    found = client.get(f"/containers/{segment(values.arguments[0])}/json")
    _check_running(found["State"])
    path, tty = f"/containers/{found['Id']}", bool(found["Config"]["Tty"])
    stdin = not values.flag("no-stdin") and bool(found["Config"]["OpenStdin"])
    check_terminal(stdin=stdin, tty=tty)
    keys = values.text("detach-keys")
    proxy = values.flag("sig-proxy") and not tty
    with container_signals(client, found["Id"], proxy=proxy, tty=tty) as signals:
        waiting = client.stream("POST", f"{path}/wait", {"condition": "not-running"})
        query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": keys}
        connection = client.hijack(f"{path}/attach", query)
        if tty:
            # A size it does not have first: without a change the program would not redraw itself for us.
            resizer(client, path, grow=1)()
            resizer(client, path)()
        if not converse(connection, signals, tty=tty, stdin=stdin, detach_keys=keys):
            raise CliError("read escape sequence")
        return await_exit(waiting, signals)


def _check_running(state: Any) -> None:
    if not state.get("Running"):
        raise CliError("You cannot attach to a stopped container, start it first")
    for key, word in (
        ("Paused", "paused container, unpause it first"),
        ("Restarting", "restarting container, wait until it is running"),
    ):
        if state.get(key):
            raise CliError(f"You cannot attach to a {word}")


ATTACH = Command(
    summary="Attach local standard input, output, and error streams to a running container",
    usage="[OPTIONS] CONTAINER",
    run=attach,
    arguments=(1, 1),
    options=(
        text("detach-keys", "Override the key sequence for detaching a container"),
        flag("no-stdin", "Do not attach STDIN"),
        flag("sig-proxy", "Proxy all received signals to the process", default=True),
    ),
    examples=("barque attach shell", "barque attach --no-stdin web"),
)
