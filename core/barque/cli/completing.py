"""What could follow on a command line: `barque __complete LINE`, which the scripts of `barque completion` call.

LINE is what stands before the cursor. One candidate a line, with a tab and its description; `:files` asks the shell to
offer files too, `:nospace` not to put a space behind. A daemon is asked only where its names are wanted, for two
seconds at most, and never started. Names that a shell would take for more than a word are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence

from barque.cli import tree
from barque.cli.completion_values import argument_candidates, value_candidates
from barque.cli.errors import CliError
from barque.cli.flags import Command, Option
from barque.cli.global_flags import GLOBAL_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.context import Context

__all__ = ["candidates", "complete"]

_SAFE = re.compile(r"[\w.:/@=+,%-]+", re.ASCII)
_SECONDS = 2.0
Candidates = list[tuple[str, str]]


def complete(arguments: Sequence[str]) -> int:
    """Print the candidates for the line in the first argument. What goes wrong is silence."""
    if arguments:
        for value, told in candidates(_split(arguments[0])):
            sys.stdout.write(f"{value}\t{told}\n" if told else f"{value}\n")
    return 0


def _root() -> Command:
    """The program itself, with its global options."""
    return Command(
        summary="",
        usage="",
        run=lambda *_: 0,
        arguments=(0, None),
        options=GLOBAL_OPTIONS,
        interspersed=False,
    )


def candidates(words: list[str]) -> Candidates:
    """What could stand for the last of the words, which follow the program's name. Raises nothing for wrong ones."""
    *before, current = words
    root = _root()
    place = _scan(root, before)
    if place.pending is not None or (not place.positionals and current.startswith("-")):
        return _of_option(root, "", place, current, before)
    rest = place.positionals
    if not rest:
        return _starting(current, [*_commands(""), *tree.GROUPS.items()])
    size = 2 if rest[0] in tree.GROUPS else 1
    if len(rest) < size:
        return _starting(current, _commands(rest[0]))
    path = " ".join(rest[:size])
    if tree.ALIASES.get(path, path) not in tree.COMMANDS:
        return []
    return _of_command(path, rest[size:], current, before)


def _of_command(path: str, after: list[str], current: str, before: list[str]) -> Candidates:
    command = tree.load(path)
    place = _scan(command, after)
    if place.pending is not None or (current.startswith("-") and place.flags_allowed(command)):
        return _of_option(command, path, place, current, before)
    most = command.arguments[1]
    if most is not None and len(place.positionals) >= most:
        return []
    path = tree.ALIASES.get(path, path)
    return _filtered(current, lambda: argument_candidates(path, place.positionals, current, _daemon(before)))


class _Place:
    """Where on the line we are: the positionals so far, and the flag that waits for its value."""

    def __init__(self) -> None:
        self.positionals: list[str] = []
        self.pending: Option | None = None
        self.ended = False

    def flags_allowed(self, command: Command) -> bool:
        """Whether a word that begins with a dash would be a flag."""
        return not self.ended and (command.interspersed or not self.positionals)


def _scan(command: Command, words: Iterable[str]) -> _Place:
    """Read finished words leniently: what is unknown is a flag without a value."""
    place = _Place()
    for word in words:
        if place.pending is not None:
            place.pending = None
        elif not place.flags_allowed(command) or not word.startswith("-") or word == "-":
            place.positionals.append(word)
        elif word == "--":
            place.ended = True
        else:
            place.pending = _waiting(command, word)
    return place


def _waiting(command: Command, word: str) -> Option | None:
    """The flag of the word that takes the next word as its value."""
    if word.startswith("--"):
        option = command.by_name.get(word)
        return option if option is not None and option.kind != "bool" else None
    for index, letter in enumerate(word[1:], 2):
        option = command.by_name.get(f"-{letter}")
        if option is None or option.kind != "bool":
            return option if option is not None and index == len(word) else None
    return None


def _of_option(command: Command, path: str, place: _Place, current: str, before: list[str]) -> Candidates:
    if place.pending is not None:
        option, prefix, value = place.pending, "", current
    else:
        name, equals, value = current.partition("=")
        found = command.by_name.get(name) if equals else None
        if found is None:
            return _starting(current, _flags(command)) if not equals else []
        option, prefix = found, f"{name}="
    found_values = _filtered(value, lambda: value_candidates(option, path, value, _daemon(before)))
    return [(one if one.startswith(":") else prefix + one, told) for one, told in found_values]


def _flags(command: Command) -> Candidates:
    flags = [
        (f"--{name}", option.help) for option in command.options for name in (option.name, *option.aliases)
    ]
    return [*flags, ("--help", "Print usage")]


def _commands(group: str) -> Candidates:
    size = len(group) + 1 if group else 0
    # Descriptions would have every command imported, which takes longer than a user waits for a key.
    return [(path[size:], "") for path in tree.paths(group) if path not in tree.HIDDEN]


def _starting(prefix: str, found: Iterable[tuple[str, str]]) -> Candidates:
    return sorted(one for one in found if one[0].startswith(prefix))


def _filtered(prefix: str, find: Callable[[], Candidates]) -> Candidates:
    """Those that begin with what is there, and directives. Without a daemon there are none."""
    try:
        found = find()
    except (CliError, LookupError, TypeError, AttributeError, ValueError):
        # An answer that is not what it should be is no answer.
        return []
    directives = [one for one in found if one[0].startswith(":")]
    names = [one for one in found if one[0].startswith(prefix) and one not in directives]
    return [*(one for one in dict.fromkeys(names) if _SAFE.fullmatch(one[0])), *directives]


def _daemon(before: list[str]) -> Callable[[], Context]:
    """What connects to the daemon that the line's own global flags name."""

    def connect() -> Context:
        from barque.cli.main import global_context
        from barque.cli.parsing import parse

        return global_context(parse(_root(), before), may_start=False, patience=_SECONDS)

    return connect


def _split(line: str) -> list[str]:
    """The words of a line after the program's name, quotes taken off; the last one may be empty or not yet closed."""
    words, word, quote, begun = list[str](), "", "", False
    letters = iter(line)
    for letter in letters:
        if quote and letter == quote:
            quote = ""
        elif quote and not (letter == "\\" and quote == '"'):
            word += letter
        elif letter == "\\":
            word, begun = word + next(letters, ""), True
        elif letter in "'\"":
            quote, begun = letter, True
        elif letter.isspace():
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + letter, True
    return [*words, word][1:] or [""]
