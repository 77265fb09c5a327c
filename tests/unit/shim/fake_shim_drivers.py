"""A runtime that runs host programs as plain children, and a log that is a file: what the shim's tests launch."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass

from barque.spi.common import Probe
from barque.spi.errors import Conflict, NotFound
from barque.spi.markers import hookimpl
from barque.spi.runtime import RuntimeTask


@dataclass(frozen=True)
class Config:
    """`fail`: the hook that raises. `greeting`: proves that the configuration arrives."""

    fail: str = ""
    greeting: str = ""


class FakeRuntime:
    Config = Config
    capabilities = frozenset()

    def __init__(self, name, config):
        self.config = config
        self.preloaded = False
        self._gate = -1
        self._report = -1

    def preload(self):
        self.preloaded = True

    @hookimpl
    def runtime_probe(self):
        return Probe()

    def _fail(self, hook):
        if self.config.fail == hook:
            raise Conflict(f"{hook} fails as told")
        if self.config.fail == f"{hook}!":
            raise RuntimeError(f"{hook} breaks as told")

    @hookimpl
    def runtime_create(self, request):
        self._fail("create")
        assert self.preloaded
        os.makedirs(f"{request.root}/{request.id}")
        read_end, self._gate = os.pipe()
        task, self._report = _spawn(request.spec["process"], request.stdio, read_end, self._gate)
        os.close(read_end)
        with open(f"{request.root}/{request.id}/pid", "w") as file:
            file.write(str(task.pid))
        return task

    @hookimpl
    def runtime_start(self, id, root):
        self._fail("start")
        os.write(self._gate, b"x")
        os.close(self._gate)
        _await_execve(self._report)

    @hookimpl
    def runtime_exec(self, request):
        self._fail("exec")
        task, report = _spawn(request.process, request.stdio, -1, -1)
        _await_execve(report)
        return task

    @hookimpl
    def runtime_kill(self, id, root, signal, all):
        pid = _pid(id, root)
        try:
            os.killpg(pid, signal) if all else os.kill(pid, signal)
        except ProcessLookupError:
            if not all:
                raise NotFound("gone") from None

    @hookimpl
    def runtime_delete(self, id, root, force):
        self._fail("delete")
        with suppress(ProcessLookupError, FileNotFoundError):
            os.killpg(_pid(id, root), signal.SIGKILL)
        shutil.rmtree(f"{root}/{id}", ignore_errors=True)


def _pid(id, root):
    with open(f"{root}/{id}/pid") as file:
        return int(file.read())


def _spawn(process, stdio, gate, gate_writer):
    report, report_writer = os.pipe()
    master = None
    if stdio is None:
        master, slave = os.openpty()
        fds = (slave, slave, slave)
    else:
        fds = (stdio.stdin, stdio.stdout, stdio.stderr)
    pid = os.fork()
    if pid == 0:
        _child(process, fds, gate, gate_writer, report_writer, stdio is None)
    os.close(report_writer)
    if stdio is None:
        os.close(slave)
    return RuntimeTask(pid, master), report


def _child(process, fds, gate, gate_writer, report, terminal):
    try:
        os.setsid()
        if gate >= 0:
            os.close(gate_writer)
            if not os.read(gate, 1):
                os._exit(1)
        if terminal:
            os.login_tty(fds[0])
        else:
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
        env = dict(item.split("=", 1) for item in process.get("env", []))
        os.execvpe(process["args"][0], process["args"], {"PATH": os.environ["PATH"], **env})
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(1)


def _await_execve(report):
    error = os.read(report, 16)
    os.close(report)
    if error:
        code = 127 if int(error) == errno.ENOENT else 126
        raise NotFound('exec: "PROGRAM": executable file not found in $PATH', exit_code=code)


@dataclass(frozen=True)
class LogConfig:
    """`limit`: bytes after which the disk is full; 0: never."""

    limit: int = 0


class FakeLog:
    Config = LogConfig
    capabilities = frozenset()

    def __init__(self, name, config):
        self.config = config

    @hookimpl
    def log_open(self, spec):
        if spec.options.get("refuse"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return FakeWriter(f"{spec.directory}/log", self.config.limit)


class FakeWriter:
    def __init__(self, path, limit):
        self._file = open(path, "ab", buffering=0)
        self._limit = limit

    def write(self, stream, data, time_ns):
        if self._limit and self._file.tell() > self._limit:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.write(stream.encode() + b" " + data)

    def close(self):
        self._file.write(b"closed\n")
        self._file.close()
