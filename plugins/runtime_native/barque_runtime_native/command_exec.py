"""`barque-runtime exec`."""

from __future__ import annotations

import os

from barque.spi.errors import BarqueError, InvalidArgument
from barque_runtime_native import warm
from barque_runtime_native.attached import Attached, send_console, write_pid_file
from barque_runtime_native.command_create import check_terminal, read_config
from barque_runtime_native.command_options import Options, UsageError
from barque_runtime_native.execute import Execution
from barque_runtime_native.state import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGKILL = 9


def execute(root: str, options: Options) -> int:
    """Run a program in the container; without --detach also wait for its end."""
    if not options.words:
        raise UsageError("a container id is needed")
    container = options.words[0]
    process = process_of(Store(root, container).read()["config"]["process"], options)
    socket = options.values.get("console-socket", "")
    detach = "detach" in options.flags
    check_terminal(process.get("terminal", False) is True, socket, detach=detach)
    warm.bind()
    attached = None if detach else Attached()
    execution = Execution(container, root, process)
    execution.ignore_paused = "ignore-paused" in options.flags
    execution.preserved = options.number("preserve-fds")
    pid, console = execution.run()
    try:
        if console is not None and socket:
            send_console(socket, console)
        if path := options.values.get("pid-file"):
            write_pid_file(path, pid)
    except (BarqueError, OSError):
        os.kill(pid, SIGKILL)
        raise
    return 0 if attached is None else attached.wait(pid, console)


def process_of(own: dict[str, Any], options: Options) -> dict[str, Any]:
    """The process: a file's, or the container's own with what the options change."""
    if path := options.values.get("process"):
        return read_config(path)
    if len(options.words) < 2:
        raise UsageError("a program is needed")
    process = {key: value for key, value in own.items() if key != "consoleSize"}
    process["args"] = options.words[1:]
    process["terminal"] = "tty" in options.flags
    process["env"] = [*own.get("env", ()), *options.many.get("env", ())]
    if cwd := options.values.get("cwd"):
        process["cwd"] = cwd
    if "no-new-privs" in options.flags:
        process["noNewPrivileges"] = True
    process["user"] = user_of(own.get("user") or {}, options)
    if names := options.many.get("cap"):
        sets = own.get("capabilities") or {}
        process["capabilities"] = {
            **sets,
            **{key: [*sets.get(key, ()), *names] for key in ("bounding", "effective", "permitted")},
        }
    return process


def user_of(own: dict[str, Any], options: Options) -> dict[str, Any]:
    """The user: `--user UID[:GID]`, `--additional-gids N`."""
    user = dict(own)
    if text := options.values.get("user"):
        uid, separator, gid = text.partition(":")
        user["uid"] = number(uid, "--user")
        if separator:
            user["gid"] = number(gid, "--user")
    if groups := options.many.get("additional-gids"):
        user["additionalGids"] = [
            *own.get("additionalGids", ()),
            *(number(each, "--additional-gids") for each in groups),
        ]
    return user


def number(text: str, option: str) -> int:
    """A user or group id. Errors: InvalidArgument; names are the engine's to look up."""
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f"{option}: {text!r} is not a number")
    return int(text)
