"""Trying what a host can do in a process of its own, so that nothing of the attempt stays and a hung one is not waited for."""

from __future__ import annotations

import subprocess

from barque.spi.trees import interpreter

__all__ = ["failure"]

_TIMEOUT_SECONDS = 5.0
_MAX_ANSWER = 4096


def failure(module: str, argument: str) -> str:
    """Why `module.main(argument)` does not work here, in the words it printed; empty when it does."""
    with subprocess.Popen(
        [*interpreter.command(module), argument],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"no answer within {_TIMEOUT_SECONDS:.0f} s"
    if process.returncode == 0:
        return ""
    text = output[-_MAX_ANSWER:].decode("utf-8", "replace").strip()
    return text or f"the trial ended with {process.returncode}"
