"""`barque-runtime create` and `run`."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native import lifecycle, warm
from barque_runtime_native.attached import Attached, send_console, write_pid_file
from barque_runtime_native.command_options import Options, UsageError
from barque_runtime_native.create import Creation
from barque_runtime_native.jsontext import loads
from barque_runtime_native.plan import Plan
from barque_runtime_native.state import read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_CONFIG = 16 << 20


def create(root: str, options: Options) -> int:
    """Make the container; it waits for `start`."""
    _create(root, options, detach=True)
    return 0


def run(root: str, options: Options) -> int:
    """Make and start it; without --detach also wait for its end, and delete it."""
    container = one_id(options)
    detach = "detach" in options.flags
    attached = None if detach else Attached()
    pid, console = _create(root, options, detach=detach)
    try:
        lifecycle.start(container, root)
        if attached is None:
            return 0
        return attached.wait(pid, console)
    except BaseException:
        lifecycle.delete(container, root, force=True)
        raise
    finally:
        if attached is not None and "keep" not in options.flags:
            lifecycle.delete(container, root, force=True)


def _create(root: str, options: Options, *, detach: bool) -> tuple[int, int | None]:
    container = one_id(options)
    bundle = os.path.abspath(options.values.get("bundle", "."))
    config = read_config(f"{bundle}/config.json")
    warm.bind()
    plan = Plan(container, bundle, config, no_pivot="no-pivot" in options.flags)
    socket = options.values.get("console-socket", "")
    check_terminal(plan.process.terminal, socket, detach=detach)
    creation = Creation(plan, config, root)
    creation.preserved = options.number("preserve-fds")
    creation.keyring = "no-new-keyring" not in options.flags
    creation.find_early = True
    pid, console = creation.run()
    try:
        if console is not None and socket:
            send_console(socket, console)
            console = None
        if path := options.values.get("pid-file"):
            write_pid_file(path, pid)
    except BaseException:
        lifecycle.delete(container, root, force=True)
        raise
    return pid, console


def check_terminal(terminal: bool, socket: str, *, detach: bool) -> None:
    """A terminal needs somebody at its other side: this process, or whoever listens on the console socket."""
    if terminal and detach and not socket:
        raise InvalidArgument(
            "process.terminal is set: --console-socket is needed", hint="or use run without --detach"
        )
    if socket and not (terminal and detach):
        raise InvalidArgument("--console-socket is for a terminal that this command will not stay at")


def one_id(options: Options) -> str:
    """The only word: the container's id."""
    if len(options.words) != 1:
        raise UsageError("one container id is needed")
    return options.words[0]


def read_config(path: str) -> dict[str, Any]:
    """config.json. Errors: InvalidArgument."""
    try:
        config = loads(read_bounded(path, MAX_CONFIG))
    except OSError as error:
        raise InvalidArgument(
            f"{path}: {(error.strerror or '').lower()}", hint="name the bundle with --bundle"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidArgument(f"{path} is not a JSON object")
    return config
