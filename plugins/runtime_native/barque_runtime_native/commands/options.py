"""The arguments of `barque-runtime`, which are those of `runc`.

Not argparse: importing it costs as much as making the container does.
"""

from __future__ import annotations

from barque_runtime_native.commands.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# option: what it takes
Table = dict[str, str]
FLAG, VALUE, NUMBER, MANY, NUMBERS = "flag", "value", "number", "many", "numbers"

GLOBAL: Table = {
    "debug": FLAG, "log": VALUE, "log-format": VALUE, "root": VALUE, "criu": VALUE, "systemd-cgroup": FLAG,
    "rootless": VALUE, "help": FLAG, "version": FLAG,
}  # fmt: skip
CREATE: Table = {
    "bundle": VALUE, "console-socket": VALUE, "pid-file": VALUE, "pidfd-socket": VALUE, "no-pivot": FLAG,
    "no-new-keyring": FLAG, "preserve-fds": NUMBER, "help": FLAG,
}  # fmt: skip
# what `checkpoint` and `restore` share
CRIU: Table = {
    "image-path": VALUE, "work-path": VALUE, "tcp-established": FLAG, "ext-unix-sk": FLAG, "shell-job": FLAG,
    "lazy-pages": FLAG, "file-locks": FLAG, "manage-cgroups-mode": VALUE, "empty-ns": MANY, "auto-dedup": FLAG,
    "help": FLAG,
}  # fmt: skip
COMMANDS: dict[str, Table] = {
    "create": CREATE,
    "run": {**CREATE, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG},
    "start": {"help": FLAG},
    "state": {"help": FLAG},
    "kill": {"all": FLAG, "help": FLAG},
    "delete": {"force": FLAG, "help": FLAG},
    "exec": {
        "console-socket": VALUE, "pidfd-socket": VALUE, "cwd": VALUE, "env": MANY, "tty": FLAG, "user": VALUE,
        "additional-gids": NUMBERS, "process": VALUE, "detach": FLAG, "pid-file": VALUE, "process-label": VALUE,
        "apparmor": VALUE, "no-new-privs": FLAG, "cap": MANY, "preserve-fds": NUMBER, "cgroup": MANY,
        "ignore-paused": FLAG, "help": FLAG,
    },
    "ps": {"format": VALUE, "help": FLAG},
    "pause": {"help": FLAG},
    "resume": {"help": FLAG},
    "update": {
        "resources": VALUE, "blkio-weight": VALUE, "cpu-period": VALUE, "cpu-quota": VALUE, "cpu-burst": VALUE,
        "cpu-rt-period": VALUE, "cpu-rt-runtime": VALUE, "cpu-share": VALUE, "cpuset-cpus": VALUE,
        "cpuset-mems": VALUE, "kernel-memory": VALUE, "kernel-memory-tcp": VALUE, "memory": VALUE,
        "memory-reservation": VALUE, "memory-swap": VALUE, "pids-limit": VALUE, "l3-cache-schema": VALUE,
        "mem-bw-schema": VALUE, "cpu-idle": VALUE, "help": FLAG,
    },
    "events": {"interval": VALUE, "stats": FLAG, "help": FLAG},
    "list": {"format": VALUE, "quiet": FLAG, "help": FLAG},
    "spec": {"bundle": VALUE, "rootless": FLAG, "help": FLAG},
    "features": {"help": FLAG},
    "checkpoint": {
        **CRIU, "parent-path": VALUE, "leave-running": FLAG, "status-fd": NUMBER, "page-server": VALUE,
        "pre-dump": FLAG,
    },
    "restore": {
        **CRIU, "bundle": VALUE, "console-socket": VALUE, "pid-file": VALUE, "detach": FLAG, "no-subreaper": FLAG,
        "no-pivot": FLAG, "lsm-profile": VALUE, "lsm-mount-context": VALUE,
    },
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
    "update": {"r": "resources"},
    "restore": {"b": "bundle", "d": "detach"},
    "": {"v": "version"},
}  # fmt: skip
# how many words follow the options: (least, most); elsewhere exactly one, the container's id
WORDS = {
    "kill": (1, 2),
    "exec": (1, None),
    "ps": (1, None),
    "list": (0, 0),
    "spec": (0, 0),
    "features": (0, None),
}


# whose words are another program's, with options of its own
VERBATIM = ("exec", "ps")


class UsageError(Exception):
    """The command line is wrong."""


class Options:
    """What was given: flags, values, repeated values, and the words after them; and what the global options say."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.values: dict[str, str] = {}
        self.many: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.log = Log()
        self.systemd_cgroup = False
        self.rootless = "auto"
        self.criu = "criu"

    def number(self, name: str) -> int:
        """A value that is a number; 0 when not given."""
        return int(self.values.get(name, "0"))


def parse(
    words: list[str], table: Mapping[str, str], short: Mapping[str, str], *, permute: bool = False
) -> Options:
    """Options up to the first word that is none, as Go's flag package reads them: `--x v`, `--x=v`, `-x`.

    `permute`: known options may also follow the words, as in `delete ID --force`.
    """
    options = Options()
    rest = list(words)
    while rest:
        word = rest[0]
        if word == "--":
            del rest[0]
            break
        given, separator, value = word.lstrip("-").partition("=")
        name = "help" if given == "h" else short.get(given, given)
        kind = table.get(name)
        if not word.startswith("-") or word == "-" or (options.words and kind is None):
            if not permute:
                break
            options.words.append(rest.pop(0))
            continue
        if kind is None:
            raise UsageError(f"flag provided but not defined: -{given}")
        del rest[0]
        if kind == FLAG:
            _set_flag(options, name, value if separator else "true")
            continue
        if not separator:
            if not rest:
                raise UsageError(f"flag needs an argument: -{given}")
            value = rest.pop(0)
        _set_value(options, name, kind, value)
    options.words += rest
    return options


def _set_flag(options: Options, name: str, value: str) -> None:
    if value in ("true", "1", "t", "T", "TRUE", "True"):
        options.flags.add(name)
    elif value in ("false", "0", "f", "F", "FALSE", "False"):
        options.flags.discard(name)
    else:
        raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')


def _set_value(options: Options, name: str, kind: str, value: str) -> None:
    if kind in (NUMBER, NUMBERS) and not (value.isascii() and value.isdigit()):
        raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
    if kind in (VALUE, NUMBER):
        options.values[name] = value
    else:
        options.many.setdefault(name, []).append(value)


def check_words(name: str, options: Options) -> None:
    """Errors: UsageError when there are too few or too many words after the options."""
    least, most = WORDS.get(name, (1, 1))
    count = len(options.words)
    if least == most != count:
        raise UsageError(f'barque-runtime: "{name}" requires exactly {least} argument(s)')
    if count < least:
        raise UsageError(f'barque-runtime: "{name}" requires a minimum of {least} argument(s)')
    if most is not None and count > most:
        raise UsageError(f'barque-runtime: "{name}" requires a maximum of {most} argument(s)')
