"""Launches shims for tests and ends all that is left of them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from barque.shim.client import ShimClient, read_event
from barque.shim.launching import DriverRef, Launcher
from barque.shim.protocol import ClientAttach, ShimConfig

HERE = str(Path(__file__).parent)
FAKES = [
    DriverRef("runtime", "fake", "fake_shim_drivers", "FakeRuntime", {"greeting": "hello"}),
    DriverRef("log", "file", "fake_shim_drivers", "FakeLog"),
    DriverRef("log", "full", "fake_shim_drivers", "FakeLog", {"limit": 10}),
    *(
        DriverRef("runtime", f"fails-{hook}", "fake_shim_drivers", "FakeRuntime", {"fail": hook})
        for hook in ("create", "create!", "start", "exec", "delete")
    ),
]


class Machine:
    """A launcher, and the containers started by it below `directory`."""

    def __init__(self, directory: Path, drivers=FAKES):
        self.directory = directory
        self.launcher = Launcher.spawn(drivers, [HERE, *sys.path])
        self.containers: list[Container] = []

    def launch(self, *args: str, id: str = "", clients=(), netns=None, process=None, **fields) -> Container:
        """Start `args`; `fields` go into the ShimConfig, `clients` are (ClientAttach, socket)."""
        id = id or f"c{len(self.containers)}"
        paths = {name: self.directory / id / name for name in ("state", "bundle", "log", "root", "rootfs")}
        for path in paths.values():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        terminal = fields.get("terminal", False)
        spec = fields.pop("spec", None) or {
            "process": {"args": list(args), "terminal": terminal, **(process or {})},
            "linux": {"namespaces": [{"type": "pid"}]},
        }
        settings = {
            "runtime": "fake",
            "log": "file",
            "mounts": (),
            "clients": tuple(attach for attach, _ in clients),
            **fields,
        }
        config = ShimConfig(
            id=id,
            state=str(paths["state"]),
            bundle=str(paths["bundle"]),
            rootfs=str(paths["rootfs"]),
            runtime_root=str(paths["root"]),
            log_directory=str(paths["log"]),
            spec=spec,
            **settings,
        )
        control = self.launcher.launch(config, netns, [sock.fileno() for _, sock in clients])
        control.settimeout(20)
        for _, sock in clients:
            sock.close()
        container = Container(self.directory / id, control)
        self.containers.append(container)
        return container

    def close(self):
        self.launcher.close()
        for container in self.containers:
            container.end()


class Container:
    """One launched container, seen with a daemon's eyes."""

    def __init__(self, directory: Path, control: socket.socket):
        self.directory = directory
        self.state = str(directory / "state")
        self.control = control
        self.pid = 0
        self.shim_pid = 0

    def event(self) -> dict | None:
        """The next event."""
        return read_event(self.control)

    def started(self) -> Container:
        """Wait until it runs."""
        event = self.event()
        assert event is not None
        assert event["event"] == "started", event
        self.pid = event["pid"]
        return self

    def client(self) -> ShimClient:
        return ShimClient.connect(self.state)

    def attach(self, stdin=False, stdout=True, stderr=True, **more) -> socket.socket:
        """A client attached now."""
        ours, theirs = client_pair()
        with theirs, self.client() as shim:
            try:
                shim.attach(ClientAttach(stdin, stdout, stderr, **more), theirs.fileno())
            except BaseException:
                ours.close()
                raise
        return ours

    def exec(self, *args: str, id: str = "e", attach=None, **process) -> socket.socket | None:
        """Start an exec; its client when `attach` is given."""
        document = {"args": list(args), **process}
        with self.client() as shim:
            if attach is None:
                shim.exec(id, document, None, None)
                return None
            ours, theirs = client_pair()
            shim.exec(id, document, attach, theirs.fileno())
            theirs.close()
            return ours

    def until(self, name: str) -> dict:
        """The next event called `name`; others are passed over."""
        while True:
            event = self.event()
            assert event is not None, f"the shim ended before it said {name}"
            if event["event"] == name:
                return event

    def release(self):
        """Let the shim go and wait until it has."""
        with self.client() as shim:
            shim.release()
        while self.event() is not None:
            pass

    def log(self) -> bytes:
        return (self.directory / "log" / "log").read_bytes()

    def find_shim(self) -> int:
        with self.client() as shim:
            return shim.hello()["shim_pid"]

    def end(self):
        """Whatever state it is in: nothing of it stays."""
        with contextlib.suppress(Exception), self.client() as shim:
            pid = shim.hello()["pid"]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with shim.events() as events:
                events.settimeout(10)
                while (event := read_event(events)) and event["event"] != "exit":
                    pass
        with contextlib.suppress(Exception), self.client() as shim:
            shim.release()
        self.control.close()


def client_pair() -> tuple[socket.socket, socket.socket]:
    """(the user's end, the daemon's end) of a hijacked connection."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    return ours, theirs


def frames(data: bytes) -> dict[int, bytes]:
    """What Docker's framing carries: stream -> bytes."""
    streams: dict[int, bytes] = {}
    while data:
        stream, size = struct.unpack(">BxxxL", data[:8])
        assert len(data) >= 8 + size
        streams[stream] = streams.get(stream, b"") + data[8 : 8 + size]
        data = data[8 + size :]
    return streams


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    sock.close()
    return data


def read_until(sock: socket.socket, text: bytes) -> bytes:
    """Everything until `text` has come."""
    data = b""
    while text not in data:
        chunk = sock.recv(65536)
        assert chunk, f"closed before {text!r}: {data!r}"
        data += chunk
    return data


def eventually(condition, seconds: float = 10.0) -> None:
    """Fail when `condition()` does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def is_readable(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


def alive(pid: int) -> bool:
    """Whether `pid` exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False
