"""`barque-runtime`: from the arguments to a command, and from an error to a log line and an exit status."""

from __future__ import annotations

import os
import sys
import time

from barque.spi.errors import BarqueError, InvalidArgument, NotImplemented
from barque_runtime_native.command_options import COMMANDS, GLOBAL, SHORT, Options, UsageError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_ROOT = "/run/barque-runtime"
SPEC_VERSION = "1.2.0"
FAILED, EXEC_FAILED = 1, 255
USAGE = """usage: barque-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND …

  create   [-b BUNDLE] [--pid-file F] [--console-socket S] [--preserve-fds N] [--no-pivot] [--no-new-keyring] ID
  run      as create, and [-d] [--keep]
  start ID      state ID      kill [-a] ID [SIGNAL]      delete [-f] ID      pause ID      resume ID
  exec     [-p FILE] [-t] [--cwd D] [-e K=V] [-u UID[:GID]] [-d] [--pid-file F] [--console-socket S] ID PROGRAM …
  list [-q] [-f table|json]      ps [-f table|json] ID      spec [-b BUNDLE]      features      --version
"""


def run(words: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        options = parse(words, GLOBAL, SHORT[""])
    except UsageError as error:
        return usage(str(error))
    if "version" in options.flags:
        from barque import __version__

        print(f"barque-runtime version {__version__}\nspec: {SPEC_VERSION}")
        return 0
    if "help" in options.flags or not options.words:
        print(USAGE, end="")
        return 0 if "help" in options.flags else FAILED
    return run_command(options)


def run_command(options: Options) -> int:
    """The command after the global options."""
    name = options.words[0]
    if name not in COMMANDS:
        return usage(f"no such command: {name}")
    try:
        given = parse(options.words[1:], COMMANDS[name], SHORT.get(name, {}))
        if "help" in given.flags:
            print(USAGE, end="")
            return 0
        check_global(options)
        return command(name)(root_of(options), given)
    except UsageError as error:
        return usage(str(error))
    except (BarqueError, OSError) as error:
        report(options, f"{name}: {error}")
        return EXEC_FAILED if name == "exec" else FAILED


def command(name: str) -> Callable[[str, Options], int]:
    """The function of a command, imported when it is asked for: a `kill` need not load what makes containers."""
    if name in ("create", "run"):
        from barque_runtime_native import command_create

        return {"create": command_create.create, "run": command_create.run}[name]
    if name == "exec":
        from barque_runtime_native import command_exec

        return command_exec.execute
    if name in ("spec", "features"):
        from barque_runtime_native import command_documents

        return {"spec": command_documents.spec, "features": command_documents.features}[name]
    from barque_runtime_native import command_control

    return command_control.COMMANDS[name]


def root_of(options: Options) -> str:
    """The directory of the state."""
    return os.path.abspath(options.values.get("root", DEFAULT_ROOT))


def check_global(options: Options) -> None:
    """Errors: NotImplemented for what this runtime does not do, InvalidArgument for a wrong value."""
    if "systemd-cgroup" in options.flags:
        raise NotImplemented(
            "--systemd-cgroup: the native runtime has no systemd cgroup driver", hint="use cgroupfs"
        )
    if options.values.get("rootless", "auto") not in ("auto", "false"):
        raise NotImplemented("--rootless: the native runtime needs root", hint="run it as root")
    if options.values.get("log-format", "text") not in ("text", "json"):
        raise InvalidArgument(f"--log-format: {options.values['log-format']!r} is neither text nor json")


def usage(message: str) -> int:
    """A wrong command line."""
    print(f"barque-runtime: {message}\n\n{USAGE}", end="", file=sys.stderr)
    return FAILED


def report(options: Options, message: str) -> None:
    """An error, to standard error and to the log that the caller reads its reason from."""
    print(f"barque-runtime: {message}", file=sys.stderr)
    path = options.values.get("log")
    if not path:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if options.values.get("log-format") == "json":
        from barque_runtime_native.jsontext import dumps

        line = dumps({"level": "error", "msg": message, "time": stamp})
    else:
        quoted = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        line = f'time="{stamp}" level=error msg="{quoted}"'.encode()
    try:
        fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except OSError as error:
        print(f"barque-runtime: --log {path}: {error.strerror}", file=sys.stderr)
        return
    try:
        os.write(fd, line + b"\n")
    finally:
        os.close(fd)
