"""A stand-in for systemd on a private bus, for tests of the cgroup driver where systemd is not process 1.

It knows seven methods and remembers what it was asked; dbus-daemon, between it and the driver, checks every message
and hangs up on one that is malformed.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from barque.spi.errors import BarqueError
from barque.testing import need
from barque_runtime_native.cgroup.dbus import (
    BUS,
    CALL,
    DESTINATION,
    ERROR,
    ERROR_NAME,
    INTERFACE,
    MEMBER,
    PATH,
    REPLY,
    REPLY_SERIAL,
    SIGNAL,
    Connection,
    Message,
    encode,
)
from barque_runtime_native.cgroup.systemd import MANAGER, SYSTEMD

REAL = Path("/run/systemd/private").exists()
SENDER = 7
JOB = "/org/freedesktop/systemd1/job/7"


class Systemd:
    """Answers on a bus of its own until it is closed."""

    def __init__(self, directory: Path, control_group: str) -> None:
        self.address = str(directory / "bus")
        self.control_group = control_group
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.units: set[str] = set()
        self.results = {"start": "done", "stop": "done"}
        # dbus-daemon gives up root's power, so it listens where anyone may look
        directory.chmod(0o755)
        self.daemon = subprocess.Popen(
            [need.tool("dbus-daemon"), "--session", "--nofork", "--print-address", f"--address=unix:path={self.address}"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.daemon.stdout is not None
        self.daemon.stdout.readline()
        self.connection = Connection(self.address)
        self.connection.socket.settimeout(None)
        self.connection.call(BUS, "RequestName", "su", SYSTEMD, 0)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def environment(self) -> dict[str, str]:
        """What makes the driver come here."""
        address = f"unix:path={self.address}"
        return {"DBUS_SYSTEM_BUS_ADDRESS": address, "DBUS_SESSION_BUS_ADDRESS": address}

    def asked(self, member: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of a method."""
        return [arguments for name, arguments in self.calls if name == member]

    def close(self) -> None:
        """Stop."""
        self.daemon.kill()
        self.daemon.communicate()
        self.thread.join(10)
        self.connection.close()

    def _serve(self) -> None:
        while True:
            try:
                message = self.connection.receive()
            except (BarqueError, OSError):
                return
            if message.kind == CALL:
                self._answer(message)

    def _answer(self, call: Message) -> None:
        member = call.fields[MEMBER]
        self.calls.append((member, call.body))
        unit = call.body[0] if call.body else ""
        if member == "StartTransientUnit":
            if unit in self.units:
                self._refuse(call, "UnitExists", f"Unit {unit} already exists.")
                return
            pids = dict(call.body[2])["PIDs"]
            assert all(Path(f"/proc/{pid}").exists() for pid in pids)
            self.units.add(unit)
            self._reply(call, "o", JOB)
            self._removed(unit, "start")
        elif member == "StopUnit":
            if unit not in self.units:
                self._refuse(call, "NoSuchUnit", f"Unit {unit} not loaded.")
                return
            self.units.discard(unit)
            self._removed(unit, "stop")  # before the reply: the order is not promised
            self._reply(call, "o", JOB)
        elif member == "Get":
            self._reply(call, "v", ("s", self.control_group))
        elif member == "ResetFailedUnit":
            self.units.discard(unit)
            self._reply(call)
        else:
            self._reply(call)

    def _send(self, message: Message, signature: str) -> None:
        self.connection.serial += 1
        message.serial = self.connection.serial
        self.connection.socket.sendall(encode(message, signature))

    def _reply(self, call: Message, signature: str = "", *body: Any) -> None:
        self._send(
            Message(REPLY, {REPLY_SERIAL: call.serial, DESTINATION: call.fields[SENDER]}, body), signature
        )

    def _refuse(self, call: Message, name: str, text: str) -> None:
        fields = {
            REPLY_SERIAL: call.serial,
            DESTINATION: call.fields[SENDER],
            ERROR_NAME: f"{SYSTEMD}.{name}",
        }
        self._send(Message(ERROR, fields, (text,)), "s")

    def _removed(self, unit: str, verb: str) -> None:
        fields = {PATH: MANAGER[1], INTERFACE: MANAGER[2], MEMBER: "JobRemoved"}
        self._send(Message(SIGNAL, fields, (6, "/other", "other.scope", "done")), "uoss")
        self._send(Message(SIGNAL, fields, (7, JOB, unit, self.results[verb])), "uoss")


def environment() -> dict[str, str]:
    """A copy of ours without a bus."""
    return {key: value for key, value in os.environ.items() if not key.startswith("DBUS_")}
