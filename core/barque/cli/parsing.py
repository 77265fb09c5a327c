"""Reading a command line by its declaration.

The grammar is that of Go's pflag, as Docker's users know it: `--name value`, `--name=value`, `-e value`, `-evalue`,
`-e=value`, `-it` together, booleans that may say `=false`, `--` ends the flags.
"""

from __future__ import annotations

from collections.abc import Sequence

from barque.cli.errors import UsageError
from barque.cli.flags import Command, Values

__all__ = ["parse"]


def parse(command: Command, argv: Sequence[str], path: str = "") -> Values:
    """Read `argv` (what follows the command's name) by `command`.

    Raises UsageError. `Values.help` is set, and the rest not read, when `--help` is met.
    """
    values = Values(command.options, path)
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            values.arguments += rest
            break
        if word.startswith("--"):
            _long(command, values, word, rest)
        elif word.startswith("-") and len(word) > 1:
            _shorts(command, values, word, rest)
        else:
            values.arguments.append(word)
            if not command.interspersed:
                values.arguments += rest
                break
        if values.help:
            return values
    command.check_arguments(path, len(values.arguments))
    return values


def _long(command: Command, values: Values, word: str, rest: list[str]) -> None:
    name, equals, value = word.partition("=")
    option = command.by_name.get(name)
    if option is None:
        if name == "--help":
            values.help = True
            return
        raise UsageError(f"unknown flag: {name}")
    if option.kind == "bool":
        values.store(option, value if equals else "true")
    elif equals:
        values.store(option, value)
    elif rest:
        values.store(option, rest.pop(0))
    else:
        raise UsageError(f"flag needs an argument: {name}")


def _shorts(command: Command, values: Values, word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = command.by_name.get(f"-{letter}")
        if option is None:
            if letter == "h":
                values.help = True
                return
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if option.kind == "bool":
            if letters.startswith("="):
                values.store(option, letters[1:])
                return
            values.store(option, "true")
        elif letters:
            values.store(option, letters.removeprefix("="))
            return
        elif rest:
            values.store(option, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}")
