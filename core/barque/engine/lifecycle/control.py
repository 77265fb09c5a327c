"""Pause, resume, limits and use of containers that run."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

from barque.engine.core import Core
from barque.engine.lifecycle.asking import running_shim
from barque.engine.lifecycle.restarting import check_restart_policy
from barque.engine.limit_checks import check_limits
from barque.engine.records import ContainerRecord
from barque.oci.limits import resource_limits
from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument, Unavailable
from barque.spi.frontend import (
    ContainerConfig,
    ContainerUse,
    InterfaceUse,
    ProcessTable,
    Resources,
    RestartPolicy,
)

__all__ = ["Controller", "require_running"]

_PS_SECONDS = 10
# Options of ps(1) only choose and format; a word that is none of them could name a file or another user's processes.
_PS_WORD = re.compile(r"-{0,2}[A-Za-z][A-Za-z0-9,=:._-]*")


class Controller:
    """Every method raises Conflict when the container does not run."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def pause(self, record: ContainerRecord) -> None:
        """See `Engine.container_pause`."""
        with record.lock:
            require_running(record)
            if record.stored.state.status == "paused":
                raise Conflict(f"container {record.id} is already paused")
            with running_shim(self._core, record) as shim:
                shim.pause()
            self._set_status(record, "paused")
        self._core.publish(record.stored, "pause")

    def resume(self, record: ContainerRecord) -> None:
        """See `Engine.container_unpause`."""
        with record.lock:
            if record.stored.state.status != "paused":
                raise Conflict(f"container {record.id} is not paused")
            with running_shim(self._core, record) as shim:
                shim.resume()
            self._set_status(record, "running")
        self._core.publish(record.stored, "unpause")

    def update(
        self, record: ContainerRecord, resources: Resources | None, restart: RestartPolicy | None
    ) -> None:
        """See `Engine.container_update`. A container that does not run gets the limits with its next start."""
        if resources is not None:
            check_limits(resources)
        with record.lock:
            if record.removed or record.stored.state.status in ("removing", "dead"):
                raise Conflict('Container is marked for removal and cannot be "update".')
            config = _with_policy(record.stored.config, restart)
            if resources is not None:
                if record.running:
                    with running_shim(self._core, record) as shim:
                        shim.update(resource_limits(resources))
                config = replace(config, resources=resources)
            record.change(self._core.database, config=config)
        self._core.publish(record.stored, "update")

    def use(self, record: ContainerRecord) -> ContainerUse:
        """See `Engine.container_stats`."""
        require_running(record)
        with running_shim(self._core, record) as shim:
            stats = shim.stats()
        return ContainerUse(stats, interfaces(record.stored.state.pid))

    def processes(self, record: ContainerRecord, options: str) -> ProcessTable:
        """See `Engine.container_top`."""
        require_running(record)
        with running_shim(self._core, record) as shim:
            pids = frozenset(map(str, shim.processes()))
        return process_table(options or "-ef", pids)

    def _set_status(self, record: ContainerRecord, status: str) -> None:
        record.change(self._core.database, state=replace(record.stored.state, status=status))


def require_running(record: ContainerRecord) -> None:
    """Errors: Conflict, in Docker's words, for one that does not run now. A start that is under way is waited for."""
    if record.running and not record.stored.state.pid:
        with record.lock:
            pass
    if record.restarting:
        raise Conflict(f"Container {record.id} is restarting, wait until the container is running")
    if not record.running:
        raise Conflict(f"container {record.id} is not running")


def _with_policy(config: ContainerConfig, restart: RestartPolicy | None) -> ContainerConfig:
    if restart is None:
        return config
    check_restart_policy(restart)
    if config.auto_remove and restart.name != "no":
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    return replace(config, restart=restart)


def interfaces(pid: int) -> tuple[InterfaceUse, ...]:
    """The counters in process `pid`'s network namespace (proc_pid_net(5), `dev`), less the loopback's."""
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.readlines()[2:]
    except OSError:
        return ()  # it has ended
    found = []
    for line in lines:
        name, _, counters = line.partition(":")
        values = [int(word) for word in counters.split()]
        if name.strip() != "lo":
            received, sent = values[:4], values[8:12]
            found.append(InterfaceUse(name.strip(), *received, *sent))
    return tuple(found)


def process_table(options: str, pids: frozenset[str]) -> ProcessTable:
    """What ps(1) of the host says of `pids`. Errors: InvalidArgument for options it may not have, or refuses."""
    words = options.split()
    for word in words:
        if not _PS_WORD.fullmatch(word):
            raise InvalidArgument(
                f"ps_args: {word!r} is no option of ps that formats",
                hint="for example: -ef, aux, -o pid,comm",
            )
    try:
        done = subprocess.run(
            ["ps", *words], capture_output=True, text=True, timeout=_PS_SECONDS, check=False
        )
    except FileNotFoundError:
        raise FailedPrecondition("the host has no ps", hint="install the package procps") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"ps took longer than {_PS_SECONDS} s", hint="try again") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        why = done.stderr.strip().partition("\n")[0]  # what follows is how ps is used
        raise InvalidArgument(f"ps: {why or 'it printed nothing'}")
    titles = tuple(lines[0].split())
    if "PID" not in titles:
        raise InvalidArgument(
            "Couldn't find PID field in ps output", hint="let ps print the pid: -o pid,comm"
        )
    column = titles.index("PID")
    rows = (line.split(None, len(titles) - 1) for line in lines[1:])
    return ProcessTable(
        titles, tuple(tuple(row) for row in rows if len(row) > column and row[column] in pids)
    )
