"""`barque-runtime`: from the arguments to a command, and from an error to a log line and an exit status."""

from __future__ import annotations

import os

from barque.spi.errors import BarqueError
from barque_runtime_native import notices
from barque_runtime_native.commands.log import FORMATS, Log
from barque_runtime_native.commands.options import (
    COMMANDS,
    GLOBAL,
    SHORT,
    VERBATIM,
    Options,
    UsageError,
    check_words,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_ROOT = "/run/barque-runtime"
FAILED, EXEC_FAILED, NO_SUCH_COMMAND = 1, 255, 3
# verb: the module that does it and its function there
MODULES = {
    "create": ("commands.create", "create"),
    "run": ("commands.create", "run"),
    "exec": ("commands.exec", "execute"),
    "list": ("commands.list", "list_"),
    "ps": ("commands.list", "ps"),
    "state": ("commands.list", "state"),
    "spec": ("commands.spec", "spec"),
    "features": ("commands.features", "features"),
    "update": ("commands.update", "update"),
    "events": ("commands.events", "events"),
    "checkpoint": ("commands.checkpoint", "checkpoint"),
    "restore": ("commands.checkpoint", "restore"),
    "start": ("commands.control", "start"),
    "kill": ("commands.control", "kill"),
    "delete": ("commands.control", "delete"),
    "pause": ("commands.control", "pause"),
    "resume": ("commands.control", "resume"),
}
# how runc begins the message of an error
PREFIX = {
    "run": "barque-runtime run failed: ",
    "create": "barque-runtime create failed: ",
    "exec": "exec failed: ",
}


def run(words: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        options = parse(words, GLOBAL, SHORT[""])
    except UsageError as error:
        return usage(Log(), "", f"Incorrect Usage. {error}", str(error))
    if "version" in options.flags:
        from barque_runtime_native.commands.help import version

        return show(version())
    if options.values.get("log-format", "text") not in FORMATS:
        Log().error(f"invalid log-format: {options.values['log-format']}")
        return FAILED
    log = Log(
        options.values.get("log", ""),
        options.values.get("log-format", "text"),
        debug="debug" in options.flags,
    )
    if "help" in options.flags or not options.words or options.words[0] in ("help", "h"):
        from barque_runtime_native.commands.help import help_of

        named = options.words[1:2] if options.words[:1] != [] and "help" not in options.flags else []
        return show(help_of(named[0] if named and named[0] in COMMANDS else ""))
    return run_command(options, log)


def run_command(options: Options, log: Log) -> int:
    """The command after the global options."""
    name = options.words[0]
    if name not in COMMANDS:
        log.error(f"No help topic for '{name}'")
        return NO_SUCH_COMMAND
    try:
        given = parse(options.words[1:], COMMANDS[name], SHORT.get(name, {}), permute=name not in VERBATIM)
    except UsageError as error:
        return usage(log, name, f"Incorrect Usage: {error}", str(error))
    if "help" in given.flags:
        from barque_runtime_native.commands.help import help_of

        return show(help_of(name))
    try:
        check_words(name, given)
    except UsageError as error:
        return usage(log, name, "Incorrect Usage.", str(error))
    given.log = log
    given.systemd_cgroup = "systemd-cgroup" in options.flags
    given.rootless = options.values.get("rootless", "auto")
    given.criu = options.values.get("criu", "criu")
    return guarded(name, options.values.get("root", ""), given)


def guarded(name: str, root: str, options: Options) -> int:
    """Run it; an error becomes a line of the log and an exit status."""
    notices.send_to(options.log.warning)
    try:
        if options.rootless not in ("auto", "true", "false"):
            raise UsageError(f"invalid value for --rootless: {options.rootless!r} (true, false or auto)")
        return command(name)(root_of(root), options)
    except (UsageError, BarqueError, OSError) as error:
        options.log.error(PREFIX.get(name, "") + describe(error))
        return EXEC_FAILED if name == "exec" else FAILED
    except Exception as error:
        # A defect. Whoever reads only the log is told too.
        options.log.error(f"{PREFIX.get(name, '')}{type(error).__name__}: {error}")
        raise


def describe(error: BaseException) -> str:
    """The error's words."""
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return what + error.strerror.lower()
    return str(error)


def command(name: str) -> Callable[[str, Options], int]:
    """The function of a command, imported when it is asked for: a `kill` need not load what makes containers."""
    module, function = MODULES[name]
    found = __import__(f"barque_runtime_native.{module}", fromlist=[function])
    chosen: Callable[[str, Options], int] = getattr(found, function)
    return chosen


def root_of(given: str) -> str:
    """The directory of the state. Errors: PermissionDenied."""
    if given:
        return os.path.abspath(given)
    from barque_runtime_native.privilege import is_rootless

    if is_rootless():
        from barque_runtime_native.commands.rootless_state import rootless_root

        return rootless_root(DEFAULT_ROOT)
    return DEFAULT_ROOT


def show(text: str) -> int:
    """Print to standard output."""
    print(text, end="" if text.endswith("\n") else "\n")
    return 0


def usage(log: Log, name: str, headline: str, message: str) -> int:
    """A wrong command line: the help, and what is wrong."""
    from barque_runtime_native.commands.help import help_of

    show(f"{headline}\n\n{help_of(name)}")
    log.error(message)
    return FAILED
