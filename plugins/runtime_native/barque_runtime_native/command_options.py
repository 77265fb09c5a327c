"""The arguments of `barque-runtime`, which are those of `runc`.

Not argparse: importing it costs as much as making the container does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# option: True when it takes a value; `+` when it may be given several times
Table = dict[str, str]
FLAG, VALUE, MANY = "flag", "value", "many"

GLOBAL: Table = {
    "root": VALUE, "log": VALUE, "log-format": VALUE, "debug": FLAG, "systemd-cgroup": FLAG, "rootless": VALUE,
    "criu": VALUE, "version": FLAG, "help": FLAG,
}  # fmt: skip
CREATE: Table = {
    "bundle": VALUE, "pid-file": VALUE, "console-socket": VALUE, "preserve-fds": VALUE, "no-pivot": FLAG,
    "no-new-keyring": FLAG, "help": FLAG,
}  # fmt: skip
COMMANDS: dict[str, Table] = {
    "create": CREATE,
    "run": {**CREATE, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG},
    "start": {"help": FLAG},
    "state": {"help": FLAG},
    "kill": {"all": FLAG, "help": FLAG},
    "delete": {"force": FLAG, "help": FLAG},
    "exec": {
        "process": VALUE, "tty": FLAG, "cwd": VALUE, "env": MANY, "user": VALUE, "cap": MANY, "detach": FLAG,
        "pid-file": VALUE, "console-socket": VALUE, "additional-gids": MANY, "no-new-privs": FLAG,
        "preserve-fds": VALUE, "ignore-paused": FLAG, "help": FLAG,
    },
    "list": {"quiet": FLAG, "format": VALUE, "help": FLAG},
    "ps": {"format": VALUE, "help": FLAG},
    "pause": {"help": FLAG},
    "resume": {"help": FLAG},
    "spec": {"bundle": VALUE, "help": FLAG},
    "features": {"help": FLAG},
}  # fmt: skip
SHORT = {
    "create": {"b": "bundle"},
    "run": {"b": "bundle", "d": "detach"},
    "kill": {"a": "all"},
    "delete": {"f": "force"},
    "exec": {
        "p": "process", "t": "tty", "e": "env", "u": "user", "c": "cap", "d": "detach", "g": "additional-gids",
    },
    "list": {"q": "quiet", "f": "format"},
    "ps": {"f": "format"},
    "spec": {"b": "bundle"},
    "": {"v": "version", "h": "help"},
}  # fmt: skip


class UsageError(Exception):
    """The command line is wrong."""


class Options:
    """What was given: flags, values, repeated values, and the words after them."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.values: dict[str, str] = {}
        self.many: dict[str, list[str]] = {}
        self.words: list[str] = []

    def number(self, name: str) -> int:
        """A value that is a number from 0 up; 0 when not given."""
        text = self.values.get(name, "0")
        if not text.isdigit():
            raise UsageError(f"--{name}: {text!r} is not a number")
        return int(text)


def parse(words: list[str], table: Mapping[str, str], short: Mapping[str, str]) -> Options:
    """Options up to the first word that is none, as Go's flag package reads them: `--x v`, `--x=v`, `-x`."""
    options = Options()
    rest = list(words)
    while rest:
        word = rest[0]
        if word == "--":
            del rest[0]
            break
        if not word.startswith("-") or word == "-":
            break
        del rest[0]
        name, separator, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        kind = table.get(name)
        if kind is None:
            raise UsageError(f"flag provided but not defined: {word}")
        if kind == FLAG:
            if not separator or value == "true":
                options.flags.add(name)
            continue
        if not separator:
            if not rest:
                raise UsageError(f"flag needs an argument: {word}")
            value = rest.pop(0)
        if kind == VALUE:
            options.values[name] = value
        else:
            options.many.setdefault(name, []).append(value)
    options.words = rest
    return options
