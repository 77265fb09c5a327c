"""What the host has of the runtime."""

from __future__ import annotations

import os

from barque.spi import Probe, Problem
from barque.spi.errors import FailedPrecondition
from barque.spi.runtime import Stdio
from barque_runtime_runc.command import find_program, spawn

__all__ = ["probe"]


def probe(path: str) -> Probe:
    """Whether the program `path` is there and tells its version."""
    try:
        program = find_program(path)
    except FailedPrecondition as error:
        return Probe((Problem(error.message, error.hint),))
    try:
        version = _version(program)
    except OSError as error:
        return Probe((Problem(f"{program} cannot be executed: {error.strerror}", "reinstall it"),))
    return Probe((), {"program": program, "version": version})


def _version(program: str) -> str:
    """The first line of `--version`."""
    output = os.memfd_create("version", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.waitpid(spawn([program, "--version"], Stdio(null, output, output)), 0)
        return os.pread(output, 4096, 0).decode("utf-8", "replace").partition("\n")[0]
    finally:
        os.close(output)
        os.close(null)
