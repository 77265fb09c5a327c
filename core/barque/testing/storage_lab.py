"""What the tests of the storage kit share: layers, a census of the driver's root, a process to kill."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from barque.spi.storage import LayerApply, SnapshotPrepare, StorageList
from barque.testing.layers import LayerTar

__all__ = [
    "MISSING",
    "Rebuild",
    "apply_layer",
    "assert_nothing_left",
    "census",
    "churn_snapshots",
    "kill_in_call",
    "large_layer",
    "wait_until",
]

Rebuild = tuple[Callable[..., Any], tuple[Any, ...]]
"""A picklable callable and its arguments: what makes another instance on the same root."""

MISSING = f"sha256:{'0' * 64}"
"""A diff id of no layer."""

_PATIENCE_SECONDS = 15.0


def census(root: str) -> list[str]:
    """Every path below `root`."""
    return sorted(
        os.path.join(directory, name)
        for directory, names, files in os.walk(root)
        for name in (*names, *files)
    )


def assert_nothing_left(driver: Any, before: list[str]) -> None:
    """The driver lists nothing, and soon the disk holds what it held."""
    assert driver.storage_list() == StorageList((), ())
    wait_until(lambda: census(driver.root) == before, "something was left on the disk")


def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def large_layer(directory: Path) -> LayerApply:
    """A layer that takes a while: 400 files of 50 kB, the same each time."""
    tar = LayerTar().directory("d")
    for number in range(400):
        tar.file(f"d/{number}", hashlib.sha256(b"%d" % number).digest() * 1600)
    return tar.store(directory, "plain")


def kill_in_call(
    rebuild: Rebuild, call: Callable[..., None], arguments: tuple[Any, ...], after: float
) -> None:
    """SIGKILL a process `after` seconds into `call(driver, *arguments)`."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from barque.testing.storage_lab import run_call; run_call()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pickle.dumps((rebuild, call, arguments)))
            process.stdin.close()
            assert process.stdout.readline(), "the driver could not be made in another process"
            time.sleep(after)
        finally:
            process.kill()


def run_call() -> None:
    """The process of `kill_in_call`: make the driver, say so, do the call."""
    (create, create_arguments), call, arguments = pickle.load(sys.stdin.buffer)
    driver = create(*create_arguments)
    print("ready", flush=True)
    call(driver, *arguments)


def apply_layer(driver: Any, request: LayerApply) -> None:
    """Apply one layer."""
    driver.storage_apply(request)


def churn_snapshots(driver: Any) -> None:
    """Make snapshots, and remove every other one, without end."""
    for number in itertools.count():
        driver.storage_prepare(SnapshotPrepare(f"c{number}", ()))
        if number % 2:
            driver.storage_remove(f"c{number}")
