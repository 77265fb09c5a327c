"""A daemon and the previous release's shim (row R10): what that one says is kept in `shim_release_1.json`."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from registry_image import IMAGE
from stress_lab import shim_of

from barque.engine.processes import start_time

pytestmark = pytest.mark.root

WORDS = json.loads(Path(__file__).with_name("shim_release_1.json").read_text())


class OldShim:
    """Says what the previous release's shim said, on the socket of the state directory."""

    def __init__(self, state, **facts):
        self._facts = {f"${name}": value for name, value in facts.items()}
        self.asked, self._channels = [], []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (state / "shim.sock").unlink()
        directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
        self._listener.bind(f"/proc/self/fd/{directory}/shim.sock")  # a path is limited to 107 bytes
        os.close(directory)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(ConnectionError):  # the daemon has ended
            while data := connection.recv(65536):
                operation = json.loads(data)["op"]
                self.asked.append(operation)
                connection.send(self._said(WORDS["replies"].get(operation, WORDS["unknown"])))
                if operation == "events":
                    self._channels.append(connection)

    def _said(self, words):
        return json.dumps({key: self._facts.get(str(value), value) for key, value in words.items()}).encode()

    def exit(self):
        self._facts["$NOW"] = time.time_ns()
        for channel in self._channels:
            channel.send(self._said(WORDS["exit"]))

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.row("R10")
def test_it_is_adopted_and_its_end_is_heard(own_daemon):
    daemon = own_daemon
    body = {
        "Image": IMAGE, "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "none"},
        "Healthcheck": {"Test": ["CMD", "true"]},
    }  # fmt: skip
    id = daemon.json("POST", "/containers/create?name=old", body)["Id"]
    daemon.json("POST", "/containers/old/start")
    pid = daemon.json("GET", "/containers/old/json")["State"]["Pid"]
    shim = shim_of(daemon, id)
    daemon.kill()
    os.kill(shim, signal.SIGKILL)
    state = daemon.base / "root" / "containers" / id
    (state / "health.json").unlink(missing_ok=True)  # that release had none
    old = OldShim(state, ID=id, PID=pid, STARTTIME=start_time(pid))
    try:
        daemon.start()
        found = daemon.json("GET", "/containers/old/json")["State"]
        assert (found["Status"], found["Pid"]) == ("running", pid)
        assert found["Health"]["Status"] == "starting"
        assert set(old.asked) == {"events", "hello"}
        refused, answer = daemon.request("POST", "/containers/old/pause")
        assert refused == 501, answer
        daemon.json("POST", "/containers/old/kill?signal=TERM")
        assert "kill" in old.asked
        os.kill(pid, signal.SIGKILL)
        old.exit()
        assert daemon.json("POST", "/containers/old/wait") == {"StatusCode": 9}
        deadline = time.monotonic() + 5
        while "release" not in old.asked:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        old.close()
