"""`barque-runtime exec`."""

from __future__ import annotations

import os

from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque_runtime_native import warm
from barque_runtime_native.commands.attached import Attached, send_console
from barque_runtime_native.commands.create import check_terminal, read_object, tell_pid
from barque_runtime_native.commands.options import Options
from barque_runtime_native.execute import Execution
from barque_runtime_native.state import CREATED, RUNNING, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGKILL = 9


def execute(root: str, options: Options) -> int:
    """Run a program in the container; without --detach also wait for its end."""
    container = options.words[0]
    document = Store(root, container).read()
    process = process_of(document["config"]["process"], options)
    socket = options.values.get("console-socket", "")
    detach = "detach" in options.flags
    check_terminal(process.get("terminal", False) is True, socket, detach=detach)
    warm.bind()
    attached = None if detach else Attached()
    execution = Execution(container, root, process)
    execution.ignore_paused = "ignore-paused" in options.flags
    execution.statuses = (CREATED, RUNNING)
    execution.preserved = options.number("preserve-fds")
    if given := options.many.get("cgroup"):
        from barque_runtime_native.commands.exec_cgroup import directories_of

        execution.cgroups = directories_of(document, given)
    pid, console = execution.run()
    options.log.debug([f"process {pid} executes {process['args']} in container {container}"])
    try:
        if console is not None and socket:
            send_console(socket, console)
        tell_pid(pid, options)
    except (BarqueError, OSError):
        os.kill(pid, SIGKILL)
        raise
    return 0 if attached is None else attached.wait(pid, console)


def process_of(own: dict[str, Any], options: Options) -> dict[str, Any]:
    """The process: a file's, or the container's own with what the options change."""
    if path := options.values.get("process"):
        try:
            return read_object(path)
        except FileNotFoundError:
            raise NotFound(f"open {path}: no such file or directory") from None
    if len(options.words) < 2:
        raise InvalidArgument("process args cannot be empty")
    process = {key: value for key, value in own.items() if key != "consoleSize"}
    process["args"] = options.words[1:]
    process["terminal"] = "tty" in options.flags
    process["env"] = [*(own.get("env") or ()), *options.many.get("env", ())]
    for option, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if value := options.values.get(option):
            process[field] = value
    if "no-new-privs" in options.flags:
        process["noNewPrivileges"] = True
    process["user"] = user_of(own.get("user") or {}, options)
    if names := options.many.get("cap"):
        sets = own.get("capabilities") or {}
        process["capabilities"] = {
            **sets,
            **{key: [*(sets.get(key) or ()), *names] for key in ("bounding", "effective", "permitted")},
        }
    return process


def user_of(own: dict[str, Any], options: Options) -> dict[str, Any]:
    """The user: `--user UID[:GID]`, `--additional-gids N`."""
    user = dict(own)
    if text := options.values.get("user"):
        uid, separator, gid = text.partition(":")
        user["uid"] = number(uid, "uid")
        if separator:
            user["gid"] = number(gid, "gid")
    if groups := options.many.get("additional-gids"):
        user["additionalGids"] = [*(own.get("additionalGids") or ()), *map(int, groups)]
    return user


def number(text: str, what: str) -> int:
    """A user or group id. Errors: InvalidArgument; names are the engine's to look up."""
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f"parsing {text} as int for {what} failed: --user takes numbers")
    return int(text)
