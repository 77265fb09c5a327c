"""`barque-runtime create` and `run`."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument, NotFound
from barque_runtime_native import warm
from barque_runtime_native.commands.attached import Attached, send_console, send_pidfd, write_pid_file
from barque_runtime_native.commands.options import Options
from barque_runtime_native.create import Creation
from barque_runtime_native.jsontext import loads
from barque_runtime_native.plan import Plan
from barque_runtime_native.state import read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_CONFIG = 16 << 20
CONFIG = "config.json"


def create(root: str, options: Options) -> int:
    """Make the container; it waits for `start`."""
    _create(root, options, detach=True)
    return 0


def run(root: str, options: Options) -> int:
    """Make and start it; without --detach also wait for its end, and delete it."""
    container = options.words[0]
    detach = "detach" in options.flags
    attached = None if detach else Attached(subreaper="no-subreaper" not in options.flags)
    pid, console = _create(root, options, detach=detach)
    from barque_runtime_native import lifecycle

    try:
        lifecycle.start(container, root)
        options.log.debug([f"container {container} runs"])
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
    container = options.words[0]
    bundle = os.path.abspath(options.values.get("bundle", ""))
    config = read_bundle(bundle)
    warm.bind()
    listening = listen_fds(config)
    plan = Plan(
        container, bundle, config, no_pivot="no-pivot" in options.flags, systemd_cgroup=options.systemd_cgroup
    )
    options.log.debug(plan.describe() if options.log.verbose else ())
    socket = options.values.get("console-socket", "")
    check_terminal(plan.process.terminal, socket, detach=detach)
    creation = Creation(plan, config, root)
    creation.preserved = listening + options.number("preserve-fds")
    creation.keyring = "no-new-keyring" not in options.flags
    creation.find_early = True
    creation.meanwhile = load_lifecycle
    pid, console = creation.run()
    options.log.debug([f"container {container} is created: its init is process {pid}"])
    try:
        if console is not None and socket:
            send_console(socket, console)
            console = None
        tell_pid(pid, options)
    except BaseException:
        from barque_runtime_native import lifecycle

        lifecycle.delete(container, root, force=True)
        raise
    return pid, console


def load_lifecycle() -> None:
    """Import what `run` goes on with."""
    from barque_runtime_native import lifecycle  # noqa: F401


def tell_pid(pid: int, options: Options) -> None:
    """Write the pid file, send the pidfd: to whoever wants them."""
    if path := options.values.get("pidfd-socket"):
        send_pidfd(path, pid)
    if path := options.values.get("pid-file"):
        write_pid_file(path, pid)


def listen_fds(config: dict[str, Any]) -> int:
    """The sockets that a service manager has opened for this process (sd_listen_fds(3)); they go on to the program."""
    count = os.environ.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdigit() or os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    process = config.get("process")
    if isinstance(process, dict):
        process["env"] = [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    return int(count)


def check_terminal(terminal: bool, socket: str, *, detach: bool) -> None:
    """A terminal needs somebody at its other side: this process, or whoever listens on the console socket."""
    if terminal and detach and not socket:
        raise InvalidArgument(
            "cannot allocate tty if barque-runtime will detach without setting console socket",
            hint="process.terminal is set: name one with --console-socket",
        )
    if socket and not (terminal and detach):
        raise InvalidArgument(
            "cannot use console socket if barque-runtime will not detach or allocate tty",
            hint="leave --console-socket out",
        )


def read_bundle(bundle: str) -> dict[str, Any]:
    """The configuration of a bundle. Errors: NotFound, InvalidArgument."""
    if not os.path.isdir(bundle):
        raise NotFound(f"chdir {bundle}: no such file or directory", hint="name the bundle with --bundle")
    try:
        return read_object(f"{bundle}/{CONFIG}")
    except FileNotFoundError:
        raise NotFound(
            f"JSON specification file {CONFIG} not found", hint="name the bundle with --bundle"
        ) from None


def read_object(path: str) -> dict[str, Any]:
    """A file with a JSON object. Errors: InvalidArgument; OSError when it cannot be read."""
    try:
        config = loads(read_bounded(path, MAX_CONFIG))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidArgument(f"{path} is not a JSON object")
    return config
