"""`--help` and `--version` of `barque-runtime`. Imported only to be shown."""

from __future__ import annotations

from barque_runtime_native.commands.help_texts import COMMAND_TEXTS, GLOBAL_TEXTS, OPTION_TEXTS, OVERVIEW
from barque_runtime_native.commands.options import COMMANDS, FLAG, GLOBAL, SHORT, Table

PROGRAM = "barque-runtime"
SPEC_VERSION = "1.2.0"
HELP = "show this help"


def version() -> str:
    """What runc tells under the same headings: dockerd and podman read the first and the `spec` line."""
    import platform

    from barque import __version__
    from barque_runtime_native.commands.features import seccomp_version

    lines = [
        f"{PROGRAM} version {__version__}",
        f"spec: {SPEC_VERSION}",
        f"python: {platform.python_version()}",
    ]
    lines += [f"libseccomp: {value}" for value in seccomp_version().values()]
    return "\n".join(lines) + "\n"


def help_of(command: str) -> str:
    """The help of a command; of the program when it is empty."""
    return overview() if not command else command_help(command)


def overview() -> str:
    """The program's help."""
    width = max(map(len, COMMANDS)) + 3
    commands = "\n".join(f"   {name:{width}}{COMMAND_TEXTS[name].summary}" for name in COMMANDS)
    return (
        f"NAME:\n   {PROGRAM} - the OCI runtime of Barque\n\n{OVERVIEW}\n"
        f"USAGE:\n   {PROGRAM} [global options] COMMAND [command options] [arguments...]\n\n"
        f"COMMANDS:\n{commands}\n   {'help':{width}}show the help of a command\n\n"
        f"GLOBAL OPTIONS:\n{option_lines(GLOBAL, {'v': 'version'}, GLOBAL_TEXTS)}\n"
    )


def command_help(command: str) -> str:
    """One command's help."""
    text = COMMAND_TEXTS[command]
    options = "" if COMMANDS[command].keys() == {"help"} else "[command options] "
    parts = [
        f"NAME:\n   {PROGRAM} {command} - {text.summary}",
        f"USAGE:\n   {PROGRAM} {command} {options}{text.arguments}".rstrip(),
    ]
    if text.description:
        parts.append("DESCRIPTION:\n" + indented(text.description))
    if text.examples:
        parts.append("EXAMPLES:\n" + "\n".join(f"   # {line}" for line in text.examples))
    texts = {**OPTION_TEXTS, **text.options}
    parts.append("OPTIONS:\n" + option_lines(COMMANDS[command], SHORT.get(command, {}), texts))
    return "\n\n".join(parts) + "\n"


def indented(text: str) -> str:
    """Its lines, indented."""
    return "\n".join(f"   {line}".rstrip() for line in text.strip().splitlines())


def option_lines(table: Table, short: dict[str, str], texts: dict[str, str]) -> str:
    """A line an option: its spellings, and what it does."""
    letters = {name: letter for letter, name in {**short, "h": "help"}.items()}
    rows = []
    for name, kind in sorted(table.items(), key=lambda item: item[0] == "help"):
        value = "" if kind == FLAG else " value"
        letter = f", -{letters[name]}{value}" if name in letters else ""
        rows.append((f"--{name}{value}{letter}", HELP if name == "help" else texts[name]))
    width = max(len(spelling) for spelling, _ in rows) + 2
    return "\n".join(f"   {spelling:{width}}{text}" for spelling, text in rows)
