"""`barque start`."""

from __future__ import annotations

from barque.cli.client import Client
from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import segment

__all__ = ["START"]


def start(context: Context, values: Values) -> int:
    """Start containers, or start one and stay attached to it."""
    if values.flag("attach") or values.flag("interactive"):
        if len(values.arguments) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(context, values)
    from barque.cli.many import for_each

    def action(client: Client, name: str) -> None:
        client.post(f"/containers/{segment(name)}/start")

    if failed := for_each(context, values.arguments, action):
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _attached(context: Context, values: Values) -> int:
    from barque.cli.attaching import await_exit, check_terminal, container_signals, converse, resizer

    client = context.client
    found = client.get(f"/containers/{segment(values.arguments[0])}/json")
    path, tty = f"/containers/{found['Id']}", bool(found["Config"]["Tty"])
    stdin = values.flag("interactive") and bool(found["Config"]["OpenStdin"])
    check_terminal(stdin=stdin, tty=tty)
    keys = values.text("detach-keys")
    proxy = values.flag("sig-proxy") and not tty
    with container_signals(client, found["Id"], proxy=proxy, tty=tty) as signals:
        query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": keys}
        connection = client.hijack(f"{path}/attach", query)
        condition = "removed" if (found.get("HostConfig") or {}).get("AutoRemove") else "next-exit"
        waiting = client.stream("POST", f"{path}/wait", {"condition": condition})
        client.post(f"{path}/start")
        if tty:
            resizer(client, path)()
        if not converse(connection, signals, tty=tty, stdin=stdin, detach_keys=keys):
            return 0
        return await_exit(waiting, signals)


START = Command(
    summary="Start one or more stopped containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    run=start,
    arguments=(1, None),
    options=(
        flag("attach", "Attach STDOUT/STDERR and forward signals", short="a"),
        text("detach-keys", "Override the key sequence for detaching a container"),
        flag("interactive", "Attach container's STDIN", short="i"),
        flag("sig-proxy", "Proxy received signals to the process", default=True),
    ),
    examples=("barque start web", "barque start -ai shell"),
)
