"""`barque-runtime start`, `kill`, `delete`, `pause` and `resume`."""

from __future__ import annotations

from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque_runtime_native import lifecycle
from barque_runtime_native.cgroup.control import freeze, is_frozen, main_directory
from barque_runtime_native.commands.options import Options
from barque_runtime_native.state import CREATED, RUNNING, Store, status_of

# signal(7), the numbers of x86 and arm
SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
        "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        start=1,
    )
}
MAX_SIGNAL = 64


def start(root: str, options: Options) -> int:
    """Let init execute its program."""
    lifecycle.start(options.words[0], root)
    return 0


def kill(root: str, options: Options) -> int:
    """Send a signal, TERM by default."""
    name = options.words[1] if len(options.words) == 2 else "TERM"
    lifecycle.kill(options.words[0], root, signal_number(name), "all" in options.flags)
    return 0


def delete(root: str, options: Options) -> int:
    """Free the container; with --force one that is not there is fine."""
    container = options.words[0]
    if not lifecycle.delete(container, root, "force" in options.flags) and "force" not in options.flags:
        raise NotFound("container does not exist")
    return 0


def pause(root: str, options: Options) -> int:
    """Stop all processes of the container by its cgroup."""
    directory, alive = freezer_of(root, options.words[0])
    if not alive or is_frozen(directory):
        raise Conflict("container not running")
    freeze(directory, True)
    return 0


def resume(root: str, options: Options) -> int:
    """Undo `pause`."""
    directory, alive = freezer_of(root, options.words[0])
    if not alive or not is_frozen(directory):
        raise Conflict("container not paused")
    freeze(directory, False)
    return 0


def freezer_of(root: str, container: str) -> tuple[str, bool]:
    """The container's cgroup, and whether it has an init."""
    store = Store(root, container)
    document = store.read()
    status, _ = status_of(store, document)
    return main_directory(document["cgroups"]), status in (CREATED, RUNNING)


def signal_number(text: str) -> int:
    """A signal by number or name, with or without SIG."""
    name = text.upper().removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    if name.startswith("RTMIN+") and name[6:].isdigit():
        name = str(34 + int(name[6:]))
    if not name.isascii() or not name.isdigit() or not 0 <= int(name) <= MAX_SIGNAL:
        raise InvalidArgument(f'unknown signal "{text}"')
    return int(name)
