"""`barque exec`."""

from __future__ import annotations

import time

from barque.cli.context import Context
from barque.cli.errors import DaemonError
from barque.cli.flags import Command, Values, flag, repeated, text
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["EXEC"]


def execute(context: Context, values: Values) -> int:
    """Run a command in a running container; its exit code is ours."""
    container, *command = values.arguments
    detached, tty = values.flag("detach"), values.flag("tty")
    stdin = values.flag("interactive") and not detached
    body: dict[str, Any] = {
        "Cmd": command,
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "User": values.text("user"),
        "WorkingDir": values.text("workdir"),
        "Privileged": values.flag("privileged"),
        "DetachKeys": values.text("detach-keys"),
    }
    if values.given("env") or values.given("env-file"):
        from barque.cli.keyvalues import environment

        body["Env"] = environment(values.all("env-file"), values.all("env"), context.environ)
    if not detached:
        from barque.cli.attaching import check_terminal, window

        check_terminal(stdin=stdin, tty=tty)
        if tty and (size := window()):
            body["ConsoleSize"] = list(size)
    session = str(context.client.post(f"/containers/{segment(container)}/exec", (), body)["Id"])
    try:
        if detached:
            context.client.post(f"/exec/{session}/start", (), {"Detach": True, "Tty": tty})
            return 0
        return _attached(context, session, body)
    except DaemonError as error:
        from barque.cli.exits import start_failure_code

        code = start_failure_code(error.reason)
        error.exit_code = 1 if code == 125 else code
        raise


def _attached(context: Context, session: str, body: dict[str, Any]) -> int:
    from barque.cli.attaching import converse, resizer
    from barque.cli.signals import Signals

    client, tty = context.client, body["Tty"]
    resize = resizer(client, f"/exec/{session}")
    start: dict[str, Any] = {"Detach": False, "Tty": tty}
    if "ConsoleSize" in body:
        start["ConsoleSize"] = body["ConsoleSize"]
    with Signals(resized=resize if tty else None) as signals:
        connection = client.hijack(f"/exec/{session}/start", (), start)
        if tty:
            resize()
        ended = converse(
            connection, signals, tty=tty, stdin=body["AttachStdin"], detach_keys=body["DetachKeys"]
        )
    return _exit_code(context, session) if ended else 0


def _exit_code(context: Context, session: str) -> int:
    """The exit code. The stream may end a moment before the daemon has noted it."""
    for pause in (0.005, 0.02, 0.1, 0.5, 1.0):
        found = context.client.get(f"/exec/{session}/json")
        if not found.get("Running"):
            return int(found.get("ExitCode") or 0)
        time.sleep(pause)
    return 0


EXEC = Command(
    summary="Execute a command in a running container",
    usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
    run=execute,
    arguments=(2, None),
    options=(
        flag("detach", "Detached mode: run command in the background", short="d"),
        text("detach-keys", "Override the key sequence for detaching a container"),
        repeated("env", "Set environment variables", short="e"),
        repeated("env-file", "Read in a file of environment variables"),
        flag("interactive", "Keep STDIN open even if not attached", short="i"),
        flag("privileged", "Give extended privileges to the command"),
        flag("tty", "Allocate a pseudo-TTY", short="t"),
        text("user", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
        text("workdir", "Working directory inside the container", short="w"),
    ),
    examples=("barque exec -it web sh", "barque exec -e DEBUG=1 -u nobody web env"),
    interspersed=False,
)
