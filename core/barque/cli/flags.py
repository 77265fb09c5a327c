"""The one declaration of a command's flags, and what a command line said of them.

A `Command` is data: `barque.cli.parsing` reads argv by it in microseconds, and `barque.cli.help` makes typer's help and
`barque.cli.completing` shell completion from the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from barque.cli.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.context import Context

__all__ = ["FALSE_WORDS", "TRUE_WORDS", "Command", "Option", "Values", "flag", "number", "repeated", "text"]

Scalar = str | int | bool | None

# What pflag takes for a boolean.
TRUE_WORDS = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE_WORDS = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Option:
    """One flag. `kind` is bool, int, string or list; `check` turns the text into the value and may raise ValueError.

    `aliases` are further long names (`--net` for `--network`). `default` is what `Values` gives when it is not set.
    """

    __slots__ = ("aliases", "check", "default", "help", "kind", "metavar", "name", "short")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        kind: str,
        short: str = "",
        metavar: str = "",
        default: Scalar = None,
        aliases: tuple[str, ...] = (),
        check: Callable[[str], str | int] | None = None,
    ) -> None:
        self.name = name
        self.help = help
        self.kind = kind
        self.short = short
        self.metavar = metavar or kind
        self.default = default
        self.aliases = aliases
        self.check = check

    @property
    def label(self) -> str:
        """How messages name it: `-m, --memory` or `--cpus`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def convert(self, value: str) -> str | int | bool:
        """The typed value of `value`, or UsageError in pflag's words."""
        if self.kind == "bool":
            if value in TRUE_WORDS or value in FALSE_WORDS:
                return value in TRUE_WORDS
            raise self._invalid(value, f'strconv.ParseBool: parsing "{value}": invalid syntax')
        if self.check is not None:
            try:
                return self.check(value)
            except ValueError as error:
                raise self._invalid(value, str(error)) from None
        return value

    def _invalid(self, value: str, why: str) -> UsageError:
        return UsageError(f'invalid argument "{value}" for "{self.label}" flag: {why}')


def flag(name: str, help: str, *, short: str = "", default: bool = False) -> Option:
    """A boolean flag."""
    return Option(name, help, kind="bool", short=short, default=default)


def text(
    name: str,
    help: str,
    *,
    short: str = "",
    metavar: str = "string",
    default: str = "",
    aliases: tuple[str, ...] = (),
    check: Callable[[str], str | int] | None = None,
) -> Option:
    """A flag with one value; the last one given counts."""
    return Option(
        name, help, kind="string", short=short, metavar=metavar, default=default, aliases=aliases, check=check
    )


def number(
    name: str,
    help: str,
    *,
    short: str = "",
    metavar: str = "int",
    default: int = 0,
    aliases: tuple[str, ...] = (),
    check: Callable[[str], int] | None = None,
) -> Option:
    """A flag with an integer value (or one that `check` makes from text: a size, a share of CPUs)."""
    return Option(
        name,
        help,
        kind="int",
        short=short,
        metavar=metavar,
        default=default,
        aliases=aliases,
        check=check or _integer,
    )


def repeated(
    name: str,
    help: str,
    *,
    short: str = "",
    metavar: str = "list",
    aliases: tuple[str, ...] = (),
    check: Callable[[str], str] | None = None,
) -> Option:
    """A flag that may be given several times; `check` refuses wrong values."""
    return Option(name, help, kind="list", short=short, metavar=metavar, aliases=aliases, check=check)


def _integer(value: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    return int(value)


class Command:
    """One command: its words, flags, arguments and function.

    `usage` is what follows the command's path in the usage line. `arguments` is the least and the greatest number of
    positionals (None: no limit). `interspersed` False: the first positional ends the flags, as for `run`.
    `failure` is the exit code when the engine or the command line is at fault (docker run: 125).
    """

    __slots__ = (
        "arguments",
        "by_name",
        "examples",
        "failure",
        "interspersed",
        "options",
        "run",
        "summary",
        "usage",
    )

    def __init__(
        self,
        *,
        summary: str,
        usage: str,
        run: Callable[[Context, Values], int],
        arguments: tuple[int, int | None] = (0, 0),
        options: Sequence[Option] = (),
        examples: Sequence[str] = (),
        interspersed: bool = True,
        failure: int = 1,
    ) -> None:
        self.summary = summary
        self.usage = usage
        self.run = run
        self.arguments = arguments
        self.options = tuple(options)
        self.examples = tuple(examples)
        self.interspersed = interspersed
        self.failure = failure
        self.by_name = {f"--{name}": o for o in self.options for name in (o.name, *o.aliases)}
        self.by_name.update({f"-{option.short}": option for option in self.options if option.short})

    def check_arguments(self, path: str, count: int) -> None:
        """UsageError in Docker's words when `count` positionals do not fit."""
        least, most = self.arguments
        if count >= least and (most is None or count <= most):
            return
        if most == 0:
            raise UsageError(f"'{path}' accepts no arguments", arguments=True)
        bound = least if count < least else most or 0
        word = "" if least == most else "at least " if count < least else "at most "
        if most is not None and 0 < least < most:
            word, bound = f"at least {least} and at most ", most
        plural = "argument" if bound == 1 else "arguments"
        raise UsageError(f"'{path}' requires {word}{bound} {plural}", arguments=True)


class Values:
    """What a command line said. The getters are typed; asking for a flag that the command lacks is a KeyError."""

    __slots__ = ("_lists", "_options", "_scalars", "arguments", "help", "path")

    def __init__(self, options: Sequence[Option], path: str = "") -> None:
        self._options = {option.name: option for option in options}
        self._scalars: dict[str, str | int | bool] = {}
        self._lists: dict[str, list[str]] = {}
        self.arguments: list[str] = []
        self.help = False
        self.path = path

    def store(self, option: Option, value: str) -> None:
        """Note that the flag was given with `value`."""
        if option.kind == "list":
            if option.check is not None:
                option.convert(value)
            self._lists.setdefault(option.name, []).append(value)
        else:
            self._scalars[option.name] = option.convert(value)

    def given(self, name: str) -> bool:
        """Whether the flag was on the command line."""
        return name in self._scalars or name in self._lists

    def flag(self, name: str) -> bool:
        """A boolean flag's value."""
        return bool(self._scalars.get(name, self._options[name].default))

    def text(self, name: str) -> str:
        """A text flag's value."""
        return str(self._scalars.get(name, self._options[name].default))

    def number(self, name: str) -> int:
        """A numeric flag's value."""
        return int(self._scalars.get(name, self._options[name].default or 0))

    def all(self, name: str) -> list[str]:
        """All values of a repeatable flag, in order."""
        if self._options[name].kind != "list":
            raise KeyError(name)
        return self._lists.get(name, [])
