"""The entry point of `barque`: global flags, finding the command, running it, and what its failure looks like."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from barque.cli import tree
from barque.cli.context import Context
from barque.cli.errors import CliError, Exit, UsageError
from barque.cli.flags import Command, Values
from barque.cli.global_flags import GLOBAL_OPTIONS
from barque.cli.parsing import parse

__all__ = ["global_context", "main", "run"]

# What the scripts of `barque completion` call.
_COMPLETE = "__complete"
# Commands of docker's that are not this program's, and what is.
_NOT_OURS = {
    "compose": "docker-compose works against the engine's socket: DOCKER_HOST={host} docker-compose up",
    "build": "images are built elsewhere: `barque pull`, `barque load` and `barque import` bring them here",
    "buildx": "images are built elsewhere: `barque pull`, `barque load` and `barque import` bring them here",
    "swarm": "this engine is one host's: there is no swarm",
}


def main() -> int:
    """Run the command line of this process and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Docker writes UTF-8 wherever it runs; names and arguments may be any bytes.
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output left; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 141
    except KeyboardInterrupt:
        code = 130
    return code


def run(argv: Sequence[str]) -> int:
    """Run one command line; errors are printed, the exit code is returned."""
    if argv and argv[0] == _COMPLETE:
        from barque.cli.completing import complete

        return complete(argv[1:])
    root = Command(
        summary="", usage="[OPTIONS] COMMAND [ARG...]", run=_nothing, arguments=(0, None),
        options=GLOBAL_OPTIONS, interspersed=False,
    )  # fmt: skip
    try:
        values = parse(root, argv, "barque")
    except UsageError as error:
        return _complain_usage(error, root, "barque")
    if values.flag("version"):
        return _short_version()
    if values.help or not values.arguments:
        return _help("")
    hosts = values.all("host")
    if len(hosts) > 1:
        return _complain("barque: specify only one -H", "")
    context = global_context(values)
    try:
        return _dispatch(context, values.arguments)
    finally:
        context.close()


def global_context(values: Values, *, may_start: bool = True, patience: float | None = None) -> Context:
    """The context that the flags before the command make.

    `may_start`: a daemon may be started for it; `patience`: how many seconds one may take for an answer."""
    environ, tls = os.environ, None
    if values.given("config"):
        directory = values.text("config")
        environ = {**os.environ, "BARQUE_CONFIG": directory, "DOCKER_CONFIG": directory}  # type: ignore[assignment]
    if any(values.given(name) for name in ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")):
        from barque.cli.tls_settings import TlsFlags

        tls = TlsFlags(values)
    host = next(iter(values.all("host")), "")
    return Context(
        host, values.text("profile"), environ, context=values.text("context"), tls=tls, may_start=may_start,
        patience=patience,
    )  # fmt: skip


def _nothing(_context: Context, _values: Values) -> int:
    return 0


def _dispatch(context: Context, words: list[str]) -> int:
    if words[0] == "help":
        return _help(" ".join(words[1:]))
    size = 2 if words[0] in tree.GROUPS else 1
    path, rest = " ".join(words[:size]), words[size:]
    if len(words) < size or (size == 2 and words[1] in ("--help", "-h", "help")):
        return _help(words[0])
    if tree.ALIASES.get(path, path) not in tree.COMMANDS:
        return _not_ours(context, path) if path in _NOT_OURS else _unknown(path)
    command = tree.load(path)
    try:
        values = parse(command, rest, f"barque {path}")
        if values.help:
            return _help(path)
        return command.run(context, values)
    except Exit as end:
        return end.code
    except UsageError as error:
        return _complain_usage(error, command, f"barque {path}")
    except CliError as error:
        return _complain_failure(error, command, path)


def _complain_usage(error: UsageError, command: Command, path: str) -> int:
    sys.stdout.flush()
    prefix = "barque: " if error.arguments else ""
    sys.stderr.write(
        f"{prefix}{error.message}\n\nUsage:  {path} {command.usage}\n\nRun '{path} --help' for more information\n"
    )
    return error.exit_code or 1


def _complain_failure(error: CliError, command: Command, path: str) -> int:
    code = command.failure if error.exit_code is None else error.exit_code
    sys.stdout.flush()
    if code >= 125:
        _complain(f"barque: {error.message}", error.hint)
        sys.stderr.write(f"\nRun 'barque {path} --help' for more information\n")
    else:
        _complain(error.message, error.hint)
    return code


def _complain(message: str, hint: str) -> int:
    from barque.cli.quoting import printable  # names from containers, words of registries

    sys.stderr.write(printable(f"{message}\n" + (f"Hint: {hint}\n" if hint else "")))
    return 1


def _unknown(path: str) -> int:
    nearest = tree.suggest(path)
    meant = f"Did you mean `barque {nearest}`?\n\n" if nearest else ""
    group = path.split(" ")[0]
    of = f"barque {group}" if group in tree.GROUPS else "barque"
    sys.stderr.write(
        f"barque: unknown command: barque {path}\n\n{meant}Run '{of} --help' for more information\n"
    )
    return 1


def _not_ours(context: Context, path: str) -> int:
    hint = _NOT_OURS[path].format(host=context.address.url)
    return _complain(f"barque: `{path}` is not a command of barque", hint)


def _help(path: str) -> int:
    if path and path not in tree.GROUPS and tree.ALIASES.get(path, path) not in tree.COMMANDS:
        return _unknown(path)
    from barque.cli.help import show

    show(path)
    return 0


def _short_version() -> int:
    from barque import __version__

    sys.stdout.write(f"Barque version {__version__}\n")
    return 0
