"""`barque-runtime start`, `state`, `kill`, `delete`, `list`, `ps`, `pause` and `resume`."""

from __future__ import annotations

import os

from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque_runtime_native import lifecycle
from barque_runtime_native.cgroup import freeze, is_frozen, main_directory, processes
from barque_runtime_native.command_options import Options, UsageError
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.state import RUNNING, Store, check_id, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

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
    lifecycle.start(one_id(options), root)
    return 0


def state(root: str, options: Options) -> int:
    """Print the state."""
    print(dumps(describe(root, one_id(options)), indent=True).decode())
    return 0


def kill(root: str, options: Options) -> int:
    """Send a signal, TERM by default."""
    if not 1 <= len(options.words) <= 2:
        raise UsageError("a container id and at most one signal are needed")
    name = options.words[1] if len(options.words) == 2 else "TERM"
    lifecycle.kill(options.words[0], root, signal_number(name), "all" in options.flags)
    return 0


def delete(root: str, options: Options) -> int:
    """Free the container; with --force one that is not there is fine."""
    container = one_id(options)
    if not lifecycle.delete(container, root, "force" in options.flags) and "force" not in options.flags:
        raise NotFound(f"container does not exist: {container}")
    return 0


def list_(root: str, options: Options) -> int:
    """Print all containers below the root."""
    found = []
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        try:
            check_id(name)
            found.append(describe(root, name))
        except BarqueError:
            continue  # not a container, or one that is being made or deleted at this moment
    if "quiet" in options.flags:
        print("".join(f"{each['id']}\n" for each in found), end="")
    elif table_format(options):
        print_table([("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")] + [
            tuple(str(each[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")) for each in found
        ])  # fmt: skip
    else:
        print(dumps(found or None).decode())
    return 0


def ps(root: str, options: Options) -> int:
    """Print the processes of the container."""
    document = Store(root, one_id(options)).read()
    pids = sorted(set(processes(main_directory(document["cgroups"]))))
    if table_format(options):
        print_table([("PID",), *((str(pid),) for pid in pids)])
    else:
        print(dumps(pids).decode())
    return 0


def pause(root: str, options: Options) -> int:
    """Stop all processes of the container by its cgroup."""
    return _freeze(root, one_id(options), True)


def resume(root: str, options: Options) -> int:
    """Undo `pause`."""
    return _freeze(root, one_id(options), False)


def _freeze(root: str, container: str, frozen: bool) -> int:
    store = Store(root, container)
    document = store.read()
    status, _ = status_of(store, document)
    if status != RUNNING:
        raise Conflict(f"container {container} is {status}")
    freeze(main_directory(document["cgroups"]), frozen)
    return 0


COMMANDS: dict[str, Callable[[str, Options], int]] = {
    "start": start, "state": state, "kill": kill, "delete": delete, "list": list_, "ps": ps, "pause": pause,
    "resume": resume,
}  # fmt: skip


def describe(root: str, container: str) -> dict[str, Any]:
    """The OCI state and what runc adds to it."""
    document = Store(root, container).read()
    found = lifecycle.state(container, root)
    if found["status"] == RUNNING and is_frozen(main_directory(document["cgroups"])):
        found["status"] = "paused"
    owner = os.stat(f"{root}/{container}").st_uid
    return {
        **found,
        "rootfs": document["rootfs"],
        "created": document["created"],
        "owner": "root" if not owner else str(owner),
    }


def one_id(options: Options) -> str:
    """The only word: the container's id."""
    if len(options.words) != 1:
        raise UsageError("one container id is needed")
    return options.words[0]


def table_format(options: Options) -> bool:
    """Whether --format is table. Errors: InvalidArgument when it is neither table nor json."""
    name = options.values.get("format", "table")
    if name not in ("table", "json"):
        raise InvalidArgument(f"--format: {name!r} is neither table nor json")
    return name == "table"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def signal_number(text: str) -> int:
    """A signal by number or name, with or without SIG."""
    name = text.upper().removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    if name.startswith("RTMIN+") and name[6:].isdigit():
        name = str(34 + int(name[6:]))
    if not name.isdigit() or not 0 <= int(name) <= MAX_SIGNAL:
        raise InvalidArgument(f"unknown signal {text!r}")
    return int(name)
