"""`barque run` and `barque create`."""

from __future__ import annotations

import contextlib
import os
import select
import sys

from barque.cli.container_config import container_body
from barque.cli.container_flags import CONTAINER_OPTIONS
from barque.cli.context import Context
from barque.cli.errors import CliError, DaemonError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


__all__ = ["CREATE", "RUN"]


def create(context: Context, values: Values) -> int:
    """Create a container and print its id."""
    try:
        body = container_body(values, context.environ, detached=False)
    except CliError as error:
        error.exit_code = 125 if error.exit_code is None else error.exit_code
        raise
    sys.stdout.write(_create(context, values, body) + "\n")
    return 0


def run(context: Context, values: Values) -> int:
    """Create a container, start it, and unless detached stay attached until it ends; its exit code is ours."""
    detached = values.flag("detach")
    if detached and values.given("attach"):
        raise CliError("conflicting options: cannot specify both --attach and --detach", exit_code=1)
    body = container_body(values, context.environ, detached=detached)
    if not detached:
        from barque.cli.attaching import check_terminal, window

        check_terminal(stdin=body["AttachStdin"], tty=body["Tty"])
        if body["Tty"] and (size := window()):
            body["HostConfig"]["ConsoleSize"] = list(size)
    container = _create(context, values, body)
    if detached:
        _start(context, container)
        sys.stdout.write(container + "\n")
        return 0
    return _attached(context, values, body, container)


def _attached(context: Context, values: Values, body: dict[str, Any], container: str) -> int:
    from barque.cli.attaching import await_exit, container_signals, converse, resizer

    client, path = context.client, f"/containers/{container}"
    tty, stdin = body["Tty"], body["AttachStdin"]
    streams = {name: body[f"Attach{name.title()}"] for name in ("stdin", "stdout", "stderr")}
    with container_signals(client, container, proxy=values.flag("sig-proxy"), tty=tty) as signals:
        connection = None
        if any(streams.values()):
            query = {"stream": True, "detachKeys": values.text("detach-keys"), **streams}
            connection = client.hijack(f"{path}/attach", query)
        condition = "removed" if values.flag("rm") else "next-exit"
        waiting = client.stream("POST", f"{path}/wait", {"condition": condition})
        try:
            _start(context, container)
        except DaemonError:
            if connection is not None:
                connection[0].close()
            if values.flag("rm"):
                _await_removal(waiting)
            raise
        if tty:
            resizer(client, path)()
        if connection is None:
            sys.stdout.write(container + "\n")
            sys.stdout.flush()
        elif not converse(connection, signals, tty=tty, stdin=stdin, detach_keys=values.text("detach-keys")):
            return 0
        return await_exit(waiting, signals)


def _start(context: Context, container: str) -> None:
    from barque.cli.exits import start_failure_code

    try:
        context.client.post(f"/containers/{container}/start")
    except DaemonError as error:
        error.exit_code = start_failure_code(error.reason)
        raise


def _await_removal(waiting: Response) -> None:
    """Let the daemon remove what did not start, so that its name is free when we return; 5 s at most."""
    if (sock := waiting.waitable()) is not None:
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        poller.poll(5000)
    waiting.close()


def _create(context: Context, values: Values, body: dict[str, Any]) -> str:
    """Create the container, pulling the image as `--pull` says; its id."""
    cidfile = values.text("cidfile")
    if cidfile and os.path.exists(cidfile):
        raise CliError(
            f"container ID file found, make sure the other container isn't running or delete {cidfile}"
        )
    image, policy = body["Image"], values.text("pull")
    if policy not in ("always", "missing", "never"):
        raise CliError(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"', exit_code=125
        )
    if policy == "always":
        _pull(context, values, image)
    try:
        answer = _request(context, values, body)
    except DaemonError as error:
        if policy != "missing" or error.status != 404 or "no such image" not in error.reason.lower():
            raise
        from barque.cli.references import familiar

        if not values.flag("quiet"):
            sys.stderr.write(f"Unable to find image '{familiar(image)}' locally\n")
        _pull(context, values, image)
        answer = _request(context, values, body)
    for warning in answer.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    if cidfile:
        _write_cidfile(cidfile, answer["Id"])
    return str(answer["Id"])


def _request(context: Context, values: Values, body: dict[str, Any]) -> Any:
    query = {"name": values.text("name"), "platform": values.text("platform")}
    return context.client.post("/containers/create", query, body)


def _pull(context: Context, values: Values, image: str) -> None:
    from barque.cli.pulling import pull_image

    pull_image(
        context, image, platform=values.text("platform"), quiet=values.flag("quiet"), output=sys.stderr
    )


def _write_cidfile(path: str, container: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(container)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise CliError(f"failed to write the container ID file: {error.strerror}: {path}") from error


CREATE = Command(
    summary="Create a new container",
    usage="[OPTIONS] IMAGE [COMMAND] [ARG...]",
    run=create,
    arguments=(1, None),
    options=CONTAINER_OPTIONS,
    examples=("barque create --name web -p 8080:80 nginx", "barque start web"),
    interspersed=False,
)

RUN = Command(
    summary="Create and run a new container from an image",
    usage="[OPTIONS] IMAGE [COMMAND] [ARG...]",
    run=run,
    arguments=(1, None),
    options=(
        flag("detach", "Run container in background and print container ID", short="d"),
        text("detach-keys", "Override the key sequence for detaching a container"),
        flag("sig-proxy", "Proxy received signals to the process", default=True),
        *CONTAINER_OPTIONS,
    ),
    examples=(
        "barque run --rm -it alpine sh",
        "barque run -d --name web -p 8080:80 -v ./site:/usr/share/nginx/html:ro nginx",
        "barque run --rm -m 256m --cpus 1.5 --read-only --tmpfs /tmp alpine true",
    ),
    interspersed=False,
    failure=125,
)
