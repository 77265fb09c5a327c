"""How containers end: a shim reports an exit, or dies itself; stop and kill."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from barque.engine import failpoints
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.lifecycle.health import HealthKeeper, ended_health
from barque.engine.lifecycle.restarting import Restarter, backoff, wants_restart
from barque.engine.processes import kill_process, seconds_since
from barque.engine.records import ContainerRecord
from barque.engine.validation import signal_number
from barque.shim.client import ShimClient, ShimEnded, read_exit_file, tell_recorded
from barque.spi.errors import BarqueError, Conflict, NotFound
from barque.spi.frontend import ExitStatus

__all__ = ["Ender"]

_log = logging.getLogger(__name__)
_DEFAULT_TIMEOUT = 10
_KILL_TIMEOUT = 10.0


class Ender:
    """Ends containers. `exec_ended` is told of execs that a shim reports, `restarter` of containers that are to run again."""

    def __init__(
        self,
        core: Core,
        containers: ContainerService,
        restarter: Restarter,
        exec_ended: Callable[[str, str, int], None],
    ) -> None:
        self._core, self._containers, self._restarter = core, containers, restarter
        self._exec_ended = exec_ended
        self._health = HealthKeeper(core)

    def on_event(self, record: ContainerRecord, event: dict[str, Any] | None) -> None:
        """An event of a running container's shim; None: the channel is gone, so the shim is dead."""
        kind = event.get("event") if event else None
        if event is None:
            self._shim_gone(record)
        elif kind == "exit":
            self.ended(record, int(event["code"]), int(event["time_ns"]), bool(event.get("oom")))
        elif kind == "exec-exit":
            self._exec_ended(record.id, str(event["exec"]), int(event["code"]))
        elif kind == "oom":
            self._killed_for_memory(record)
        elif kind in ("health", "health-begin"):
            self._health.on_event(record, event)
        elif kind == "log-error":
            _log.warning(
                "container %s: log: %s (%s bytes lost)",
                record.id[:12],
                event.get("message"),
                event.get("lost"),
            )

    def ended(self, record: ContainerRecord, code: int, finished_ns: int, oom_killed: bool) -> None:
        """Record an exit, tell everybody, free what the container held. The second call for one exit does nothing."""
        with record.lock:
            if not record.running:
                return
            core, stored = self._core, record.stored
            seconds = max(0, finished_ns - stored.state.started_ns) // 1_000_000_000
            stopped = stored.user_stopped or record.user_stop
            again = wants_restart(stored.config.restart, code, stopped, stored.restart_count)
            state = replace(
                stored.state,
                status="restarting" if again else "exited",
                pid=0,
                exit_code=code,
                finished_ns=finished_ns,
                oom_killed=oom_killed or stored.state.oom_killed,
                health=ended_health(stored.state.health),
            )
            failpoints.hit("exit.record")
            remove = stored.config.auto_remove and not record.kept
            keep = record.note if remove else record.change
            keep(
                core.database,
                state=state,
                endpoints={},
                starttime=0,
                user_stopped=stopped,
                restart_count=stored.restart_count + again,
            )
            if oom_killed and not stored.state.oom_killed:
                core.publish(stored, "oom")
            core.execs_ended(stored.id)
            core.publish(stored, "die", exitCode=code, execDuration=seconds)
            core.networks.disconnect(stored.endpoints)
            if stored.config.volumes:
                self._containers.volumes.unmount(stored)
            self._release(record)
            # also when it is to run again: as in Docker, every end of a run is one for those who wait
            record.notify(ExitStatus(code, finished_ns, oom_killed), "not-running", "next-exit")
            if again:
                record.backoff = backoff(record.backoff, seconds_since(stored.starttime))
                self._restarter.schedule(record, record.backoff)
            if remove:  # in the lock still: nobody starts it in between
                self._containers.remove(record)

    def signal(self, record: ContainerRecord, number: int) -> None:
        """Send a signal to init. One that is to end it rests its restart policy; where it is about to be restarted, that is all.

        Errors: Conflict when it does not run."""
        with record.lock:
            if record.restarting:
                self._give_up(record)
                return
            if not record.running:
                raise Conflict(f"container {record.id} is not running")
            if _is_to_end(record, number):
                self._rest_policy(record)
            try:
                with ShimClient.connect(self._state(record)) as shim:
                    shim.kill(number, all=False)
                self._wake(record)
            except (NotFound, ShimEnded):
                return  # it ended in this moment
            # still with the lock, which an exit takes to be recorded: nobody hears of a death before the signal
            self._core.publish(record.stored, "kill", signal=number)

    def _rest_policy(self, record: ContainerRecord) -> None:
        """Durable before the signal is sent, where there is a policy; else the exit's record says it."""
        record.user_stop = True
        if record.stored.config.restart.name != "no" and not record.stored.user_stopped:
            record.change(self._core.database, user_stopped=True)

    def _give_up(self, record: ContainerRecord) -> None:
        """A container that waits for its restart stays down."""
        self._restarter.cancel(record)
        state = replace(record.stored.state, status="exited")
        record.change(self._core.database, state=state, user_stopped=True)
        record.notify(record.exit_status(), "not-running", "next-exit")

    def _killed_for_memory(self, record: ContainerRecord) -> None:
        """The kernel killed a process of it, which need not have been init. The exit's record makes it durable."""
        with record.lock:
            if record.running:
                record.stored = replace(record.stored, state=replace(record.stored.state, oom_killed=True))
                self._core.publish(record.stored, "oom")

    def _wake(self, record: ContainerRecord) -> None:
        """A paused container that is signalled goes on, to have the signal: as dockerd does it."""
        with record.lock:
            if record.stored.state.status != "paused":
                return
            with contextlib.suppress(Conflict), ShimClient.connect(self._state(record)) as shim:
                shim.resume()
                record.change(self._core.database, state=replace(record.stored.state, status="running"))

    def stop(self, record: ContainerRecord, signal_name: str | None, timeout: int | None) -> bool:
        """See `Engine.container_stop`."""
        if not record.active:
            return False
        config = record.stored.config
        number = signal_number(signal_name or config.stop_signal or "TERM")
        seconds = timeout if timeout is not None else config.stop_timeout
        seconds = _DEFAULT_TIMEOUT if seconds is None else seconds
        waiter = self._containers.wait(record, "not-running")
        try:
            with contextlib.suppress(Conflict):
                self.signal(record, number)
            if waiter.result(1e9 if seconds < 0 else float(seconds)) is None:
                with contextlib.suppress(Conflict):
                    self.signal(record, signal.SIGKILL)
                self._await_death(record, waiter.result(_KILL_TIMEOUT))
        finally:
            waiter.close()
        self._core.publish(record.stored, "stop")
        return True

    def kill_and_wait(self, record: ContainerRecord) -> None:
        """SIGKILL, and return when the exit is recorded (or its container removed)."""
        waiter = self._containers.wait(record, "not-running")
        try:
            with contextlib.suppress(Conflict):
                self.signal(record, signal.SIGKILL)
            self._await_death(record, waiter.result(_KILL_TIMEOUT))
        finally:
            waiter.close()

    def clean(self, record: ContainerRecord) -> None:
        """After the death of a shim: what it would have freed. Idempotent."""
        stored = record.stored
        try:
            root = str(self._core.layout.runtime(stored.runtime))
            self._core.drivers.runtime(stored.runtime).delete(stored.id, root, force=True)
        except BarqueError as error:
            _log.error("container %s: cleaning up after its shim: %s", stored.id[:12], error)

    def _await_death(self, record: ContainerRecord, status: ExitStatus | None) -> None:
        if status is None:
            raise Conflict(
                f"tried to kill container {record.id}, but did not receive an exit event",
                hint="a process of it may hang in the kernel; see `ps -o pid,stat,wchan`",
            )

    def _release(self, record: ContainerRecord) -> None:
        """The exit is durable here: the shim may go."""
        control, record.control = record.control, None
        if control is not None:
            self._core.monitor.forget(control.fileno())
            tell_recorded(control)
            control.close()

    def _shim_gone(self, record: ContainerRecord) -> None:
        """The shim died without a word (row R4), or after its exit file was written."""
        with record.lock:
            if not record.running:
                return
            stored = record.stored
            report = read_exit_file(self._state(record))
            if report is None:
                _log.warning("container %s: its shim was killed; killing the container", stored.id[:12])
                kill_process(stored.state.pid, stored.starttime)
                report = {"code": 137, "time_ns": time.time_ns(), "oom": False}
                self.clean(record)
            self.ended(record, int(report["code"]), int(report["time_ns"]), bool(report.get("oom")))

    def _state(self, record: ContainerRecord) -> str:
        return os.fspath(self._core.layout.container(record.id))


def _is_to_end(record: ContainerRecord, number: int) -> bool:
    """Docker's rule: of a container that names its stop signal, that one and KILL; else any."""
    named = record.stored.config.stop_signal
    return not named or number in (signal.SIGKILL, signal_number(named))
