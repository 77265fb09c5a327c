"""Exec sessions: a further process in a running container. The shim keeps them; the engine knows their configuration."""

from __future__ import annotations

import base64
import os
import secrets
import threading
from dataclasses import dataclass, replace
from typing import Any

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.lifecycle.asking import running_shim
from barque.engine.lifecycle.control import require_running
from barque.engine.processes import start_time
from barque.engine.records import ContainerRecord
from barque.oci.process import exec_process
from barque.shim.protocol import ClientAttach
from barque.shim.users import resolve_user
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.frontend import ClientStream, Exec, ExecConfig

__all__ = ["ExecService"]

_DEFAULT_KEYS = "ctrl-p,ctrl-q"


@dataclass(frozen=True, slots=True)
class _Session:
    container_id: str
    config: ExecConfig
    started: bool = False
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class ExecService:
    """All sessions of containers that run. Thread-safe."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        core.exec_ids, core.execs_ended, core.execs_dropped = self.of_container, self.forget, self.drop

    def create(self, ref: str, config: ExecConfig) -> str:
        """See `Engine.exec_create`. Errors: Conflict when the container does not run."""
        record = self._containers.find(ref)
        _require_awake(record)
        if not config.command:
            raise InvalidArgument("No exec command specified")
        id = secrets.token_hex(32)
        with self._lock:
            self._sessions[id] = _Session(record.id, config)
        self._publish(record, "exec_create", id, config)
        return id

    def start(self, exec_id: str, stream: ClientStream | None) -> None:
        """See `Engine.exec_start`."""
        session = self._get(exec_id)
        record = self._containers.find(session.container_id)
        _require_awake(record)
        with self._lock:
            session = self._sessions.get(exec_id, session)
            if session.started:
                raise Conflict(f"exec {exec_id} has already been started")
            self._sessions[exec_id] = replace(session, started=True)
        attach = _attach(session.config, stream)
        self._publish(record, "exec_start", exec_id, session.config)
        if stream is not None:
            stream.accept()
        try:
            process = self._process(record, session.config)
            with running_shim(self._core, record) as shim:
                self._change(exec_id, running=True)
                pid = shim.exec(exec_id, process, attach, stream.fd if stream else None)
            self._started(exec_id, pid)
        except BarqueError as error:
            told = error.exit_code in (126, 127)
            self._change(exec_id, running=False, exit_code=error.exit_code if told else 126)
            if not told and start_time(record.stored.state.pid) != record.stored.starttime:
                # whatever the kernel said (of a pid namespace whose init is gone, ENOMEM): it has just ended
                raise Conflict(f"container {record.id} is not running") from error
            raise

    def get(self, exec_id: str) -> Exec:
        """See `Engine.exec_get`. Asks the shim when it should still run, so the answer is never behind the stream's end."""
        session = self._get(exec_id)
        if session.running:
            self._refresh(exec_id, session)
            session = self._get(exec_id)
        return Exec(
            exec_id, session.container_id, session.config, session.running, session.exit_code, session.pid
        )

    def resize(self, exec_id: str, height: int, width: int) -> None:
        """See `Engine.exec_resize`."""
        session = self._get(exec_id)
        record = self._containers.find(session.container_id)
        if not session.running:
            raise Conflict(f"exec {exec_id} is not running")
        with running_shim(self._core, record) as shim:
            shim.resize(height, width, exec_id)

    def ended(self, container_id: str, exec_id: str, code: int) -> None:
        """A shim reports the end of a session. The second report does nothing."""
        with self._lock:
            session = self._sessions.get(exec_id)
            if session is None or session.exit_code is not None:
                return
            self._sessions[exec_id] = replace(session, running=False, exit_code=code, pid=0)
        record = self._containers.find(container_id)
        self._publish(record, "exec_die", exec_id, session.config, exitCode=code)

    def adopt(self, container_id: str, sessions: dict[str, Any]) -> None:
        """After a restart: sessions a shim still keeps. Their configuration is gone with the daemon that had it."""
        with self._lock:
            for exec_id, facts in sessions.items():
                config = ExecConfig(tuple(facts.get("args") or ("?",)), tty=bool(facts.get("terminal")))
                running = bool(facts["running"])
                code = None if running else int(facts["code"])
                self._sessions[exec_id] = _Session(
                    container_id, config, True, running, code, int(facts["pid"])
                )

    def forget(self, container_id: str) -> None:
        """The container has ended: its running sessions have too."""
        with self._lock:
            for exec_id, session in self._sessions.items():
                if session.container_id == container_id and session.running:
                    self._sessions[exec_id] = replace(session, running=False, exit_code=137, pid=0)

    def drop(self, container_id: str) -> None:
        """The container is removed: forget its sessions."""
        with self._lock:
            self._sessions = {id: s for id, s in self._sessions.items() if s.container_id != container_id}

    def of_container(self, container_id: str) -> tuple[str, ...]:
        """Ids of the sessions that run."""
        with self._lock:
            return tuple(
                id for id, s in self._sessions.items() if s.container_id == container_id and s.running
            )

    def _get(self, exec_id: str) -> _Session:
        with self._lock:
            session = self._sessions.get(exec_id)
        if session is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return session

    def _change(self, exec_id: str, **fields: Any) -> None:
        with self._lock:
            if (
                session := self._sessions.get(exec_id)
            ) is not None:  # else its container was removed meanwhile
                self._sessions[exec_id] = replace(session, **fields)

    def _started(self, exec_id: str, pid: int) -> None:
        with self._lock:
            session = self._sessions.get(exec_id)
            if session is not None and session.exit_code is None:
                self._sessions[exec_id] = replace(session, pid=pid)

    def _refresh(self, exec_id: str, session: _Session) -> None:
        record = self._containers.find(session.container_id)
        try:
            with running_shim(self._core, record) as shim:
                facts = shim.exec_state(exec_id)
        except (NotFound, Conflict):  # it is forgotten, or the container has ended: `forget` will say so
            return
        if not facts["running"]:
            self.ended(session.container_id, exec_id, int(facts["code"]))

    def _process(self, record: ContainerRecord, config: ExecConfig) -> dict[str, Any]:
        stored = record.stored
        process = exec_process(stored.config, config, self._core.host.bounding, stored.hostname)
        try:
            root = os.open(f"/proc/{stored.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError) as error:  # it has just ended
            raise Conflict(f"container {record.id} is not running") from error
        try:
            user = resolve_user(root, config.user or stored.config.user, stored.config.group_add)
        finally:
            os.close(root)
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)}
        if not any(entry.startswith("HOME=") for entry in process["env"]):
            process["env"].append(f"HOME={user.home}")
        return process

    def _publish(
        self, record: ContainerRecord, action: str, exec_id: str, config: ExecConfig, **more: Any
    ) -> None:
        verb = action if action == "exec_die" else f"{action}: {' '.join(config.command)}"
        self._core.publish(record.stored, verb, execID=exec_id, **more)


def _require_awake(record: ContainerRecord) -> None:
    require_running(record)
    if record.stored.state.status == "paused":
        raise Conflict(f"Container {record.id} is paused, unpause the container before exec")


def _attach(config: ExecConfig, stream: ClientStream | None) -> ClientAttach | None:
    if stream is None:
        return None
    preread = base64.b64encode(stream.preread).decode()
    keys = config.detach_keys or _DEFAULT_KEYS
    return ClientAttach(config.stdin, config.stdout, config.stderr, keys, preread)
