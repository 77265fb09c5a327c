"""What `barque-runtime` tells: errors on standard error, and everything in the file of `--log`, as runc writes it.

Whoever runs a runtime (conmon, containerd's go-runc, cri-o) reads the last error of that file: one line each, of JSON
with `level`, `msg` and `time`, or `time="…" level=… msg="…"`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FORMATS = ("text", "json")
STDERR = "/dev/stderr"


class Log:
    """Where lines go. Without a file errors are plain text on standard error, for people."""

    def __init__(self, path: str = "", form: str = "text", *, debug: bool = False) -> None:
        self.path = "" if path == STDERR else path
        self.form = form
        self.verbose = debug

    def debug(self, lines: Iterable[str]) -> None:
        """Lines that only `--debug` wants; `lines` is not even iterated without it."""
        if self.verbose:
            for line in lines:
                self._write("debug", line)

    def warning(self, message: str) -> None:
        """Something that the caller should know and that is no error."""
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Why the command fails."""
        if self.path or self.form == "json":
            self._write("error", message)
        if self.path or self.form != "json":
            put(2, message)

    def _write(self, level: str, message: str) -> None:
        line = as_json(level, message) if self.form == "json" else as_text(level, message)
        if not self.path:
            put(2, line)
            return
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except OSError as error:
            put(2, f"barque-runtime: --log {self.path}: {error.strerror}")
            return
        try:
            put(fd, line)
        finally:
            os.close(fd)


def put(fd: int, line: str) -> None:
    """Write a line. Nobody reading is no reason to fail: the exit status tells too."""
    try:
        os.write(fd, line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        return


def now() -> str:
    """The time, RFC 3339 in UTC."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def as_json(level: str, message: str) -> str:
    """A line of `--log-format json`."""
    from barque_runtime_native.jsontext import dumps

    return dumps({"level": level, "msg": message, "time": now()}).decode()


def as_text(level: str, message: str) -> str:
    """A line of `--log-format text`. Line ends and quotes are escaped, so that a message cannot forge another line."""
    quoted = "".join(_ESCAPES.get(each, each if each.isprintable() else repr(each)[1:-1]) for each in message)
    return f'time="{now()}" level={level} msg="{quoted}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"'}
