"""After the daemon's start: what became of the containers while nobody was there.

A container whose shim answers is taken over as it is. One whose shim has ended left its exit status in a file. One whose
shim was killed is killed too (row R4). After a reboot nothing of it can be left: its pid is not even looked at (row R7).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.lifecycle.ending import Ender
from barque.engine.lifecycle.health import read_health
from barque.engine.processes import kill_process, start_time
from barque.engine.records import ContainerRecord
from barque.shim.client import ShimClient, read_exit_file
from barque.spi.errors import BarqueError, NotFound, Unavailable

__all__ = ["Adopter"]

_log = logging.getLogger(__name__)
_REBOOT_CODE = 255


class Adopter:
    """Reconciles records with the world."""

    def __init__(
        self,
        core: Core,
        containers: ContainerService,
        ender: Ender,
        adopt_execs: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._core, self._containers, self._ender, self._adopt_execs = core, containers, ender, adopt_execs

    def adopt_all(self) -> None:
        """Every container the database calls running; several at once, since shims answer independently."""
        running = [r for r in self._containers.records() if r.running]
        if running:
            with ThreadPoolExecutor(4, thread_name_prefix="adopt") as pool:
                list(pool.map(self._adopt_safely, running))

    def _adopt_safely(self, record: ContainerRecord) -> None:
        try:
            self._adopt(record)
        except (BarqueError, OSError) as error:
            _log.error("container %s: cannot be adopted: %s", record.id[:12], error)

    def _adopt(self, record: ContainerRecord) -> None:
        state = os.fspath(self._core.layout.container(record.id))
        if record.stored.boot_id != self._core.host.boot_id:
            self._lost(record, _REBOOT_CODE)
            return
        channel = None
        try:
            # the channel first: nothing that happens after the hello is missed
            with ShimClient.connect(state) as shim:
                channel = shim.events()
            with ShimClient.connect(state) as shim:
                hello = shim.hello()
        except (NotFound, Unavailable, OSError):
            if channel is not None:
                channel.close()
            self._without_shim(record, state)
            return
        with record.lock:
            live = replace(record.stored.state, pid=int(hello["pid"]))
            if live.health is not None:
                live = replace(live, health=read_health(state) or live.health)
            record.stored = replace(record.stored, state=live, starttime=int(hello["starttime"]))
            record.control = channel
            self._adopt_execs(record.id, hello.get("execs") or {})
        self._core.monitor.watch(channel, lambda event: self._ender.on_event(record, event))

    def _without_shim(self, record: ContainerRecord, state: str) -> None:
        report = read_exit_file(state)
        if report is not None:
            self._ender.clean(record)
            self._ender.ended(record, int(report["code"]), int(report["time_ns"]), bool(report.get("oom")))
            return
        pid, started = record.stored.state.pid, record.stored.starttime
        was_alive = bool(pid) and start_time(pid) == started and kill_process(pid, started)
        self._lost(record, 137 if was_alive or pid else _REBOOT_CODE)

    def _lost(self, record: ContainerRecord, code: int) -> None:
        self._ender.clean(record)
        self._ender.ended(record, code, time.time_ns(), False)
