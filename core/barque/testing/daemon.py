"""A real daemon for tests: in a network namespace of its own, on roots of its own, killed and started at will."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Daemon", "Lab"]


class Lab:
    """A network namespace with loopback up; `enter` is the prefix of a command that runs in it. Close it at the end."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000000"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self.enter = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside, its output captured."""
        return subprocess.run([*self.enter, *command], capture_output=True, timeout=timeout, check=False)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command inside."""
        return subprocess.Popen([*self.enter, *command], **options)

    def close(self) -> None:
        """End the namespace's holder."""
        self._holder.kill()
        self._holder.communicate()


class Daemon:
    """`barqued` below `base` (short: a socket's path is limited), listening on `base/barque.sock`.

    Without `profile` it is the one that BARQUE_TEST_PROFILE names, else `default`: the same tests for another profile.
    `arguments`: further ones of its command line."""

    def __init__(
        self, base: Path, lab: Lab, profile: str = "", environment: dict[str, str] | None = None
    ) -> None:
        self.base, self.lab = base, lab
        self.profile = profile or os.environ.get("BARQUE_TEST_PROFILE", "default")
        self.socket = base / "barque.sock"
        self.host = f"unix://{self.socket}"
        self.log = base / "barqued.log"
        self.environment = environment or {}
        self.arguments: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 20.0) -> float:
        """Start, and return the seconds until the first answer."""
        began = time.monotonic()
        command = [*self.lab.enter, sys.executable, "-m", "barque.engine.daemon", "--profile", self.profile]
        command += [
            "--root",
            str(self.base / "root"),
            "--run-dir",
            str(self.base / "run"),
            "--host",
            self.host,
            *self.arguments,
        ]
        with self.log.open("ab") as log:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > timeout:
                raise AssertionError(f"the daemon does not answer:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.005)
        return time.monotonic() - began

    def answers(self) -> bool:
        """Whether `GET /_ping` says OK."""
        try:
            return self.request("GET", "/_ping")[1] == b"OK"
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = 15.0) -> None:
        """SIGTERM, and wait; SIGKILL when it takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def close(self) -> None:
        """Remove every container, stop, delete the roots."""
        if self.process is not None and self.process.poll() is None:
            for container in self.json("GET", "/containers/json?all=1"):
                self.request("DELETE", f"/containers/{container['Id']}?force=1")
            self.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def request(
        self, method: str, path: str, body: object = None, timeout: float = 60.0
    ) -> tuple[int, bytes]:
        """One API request: status and body."""
        connection = _UnixConnection(str(self.socket), timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: object = None) -> Any:
        """One API request that must succeed; the decoded answer."""
        status, data = self.request(method, path, body)
        assert status < 300, f"{method} {path}: {status} {data!r}"
        return json.loads(data) if data else None

    def docker(
        self, *arguments: str, timeout: float = 60, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The unmodified docker CLI against this daemon."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.decode()}
        command = self.docker_command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **given)

    def docker_command(self, *arguments: str) -> Sequence[str]:
        """The same as an argument vector."""
        return ["docker", "-H", self.host, *arguments]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
