"""`barque-runtime events`: what a container uses, and when it runs out of memory, a line of JSON each."""

from __future__ import annotations

import os
import select
import sys
import time

from barque.spi.errors import Conflict, InvalidArgument
from barque_runtime_native.cgroup.events import OomWatch
from barque_runtime_native.cgroup.stats import measure
from barque_runtime_native.cgroup.update import layout_of
from barque_runtime_native.commands.options import Options
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.state import CREATED, RUNNING, Store, open_process, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Go's time.ParseDuration
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def events(root: str, options: Options) -> int:
    """Print until the container ends; with --stats one line."""
    if len(options.words) != 1:
        raise InvalidArgument("events needs one container id")
    interval = seconds(options.values.get("interval", "5s"))
    if interval <= 0:
        raise InvalidArgument("duration interval must be greater than 0")
    store = Store(root, options.words[0])
    document = store.read()
    init = store.read_init()
    status, _ = status_of(store, document)
    pidfd = open_process(*init) if init and status in (CREATED, RUNNING) else None
    if pidfd is None:
        raise Conflict(f"container with id {store.id} is not running")
    try:
        if "stats" in options.flags:
            tell("stats", document)
        else:
            follow(document, pidfd, interval)
    finally:
        os.close(pidfd)
    return 0


def follow(document: dict[str, Any], pidfd: int, interval: float) -> None:
    """Statistics every `interval` seconds and each lack of memory, until init has ended."""
    layout = layout_of(document)
    directories = layout.directories(document["cgroups"])
    watch = OomWatch(directories.get("" if layout.unified else "memory", ""), unified=layout.unified)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        watch.register(poll)
        due = time.monotonic() + interval
        while True:
            ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
            if watch.fd in ready and watch.happened():
                tell("oom", document)
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                tell("stats", document)
                due += interval
    finally:
        watch.close()


def tell(kind: str, document: dict[str, Any]) -> None:
    """Print one line, at once."""
    line: dict[str, Any] = {"type": kind, "id": document["id"]}
    if kind == "stats":
        line["data"] = measure(document["cgroups"], layout_of(document))
    print(dumps(line).decode())
    sys.stdout.flush()


def seconds(text: str) -> float:
    """A duration in Go's notation: `5s`, `1m30s`, `100ms`. Errors: InvalidArgument."""
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next(
            (each for each in ("ns", "us", "µs", "ms", "s", "m", "h") if rest[digits:].startswith(each)), ""
        )
        number = rest[:digits]
        if not unit or number.count(".") > 1 or not number.strip("."):
            raise InvalidArgument(f"invalid value {text!r} for flag -interval: parse error")
        total += float(number) * UNITS[unit]
        rest = rest[digits + len(unit) :]
    return total
