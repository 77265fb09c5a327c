"""Run a program, keep its output (bounded), stop it when the caller gives up."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from barque.spi.errors import Unavailable

__all__ = ["Finished", "run"]

_MOST_OUTPUT = 4 << 20
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program left: exit code, standard output, standard error."""

    code: int
    output: str
    errors: str


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cancelled: Callable[[], bool],
    watch: Callable[[], None],
    *,
    lifeline: bool = False,
) -> Finished:
    """Run without a shell and without a terminal, calling `watch` five times a second. `lifeline`: standard input is a pipe that ends
    when this process does.

    Unavailable when `cancelled()` became true: the program and its children are gone then.
    """
    import tempfile  # 4 ms and a megabyte that a daemon without such images does without

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            arguments,
            env=environment,
            cwd="/",
            stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = _wait(process, cancelled, watch)
        except BaseException:
            _stop(process)
            raise
        finally:
            if process.stdin is not None:
                process.stdin.close()
        return Finished(code, _text(output), _text(errors))


def _wait(process: subprocess.Popen[bytes], cancelled: Callable[[], bool], watch: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(_POLL)
        except subprocess.TimeoutExpired:
            if cancelled():
                raise Unavailable("the pull was cancelled") from None
            watch()


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The whole session: apt's download methods are children of it.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MOST_OUTPUT).decode("utf-8", "replace")
