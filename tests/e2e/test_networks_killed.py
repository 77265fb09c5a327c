"""SIGKILL of the daemon in the middle of each operation on networks: done, or undone by the next one (row R3)."""

import http.client
import tempfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE

from barque.testing.daemon import Daemon, Lab

pytestmark = pytest.mark.root

PORT = 18471


class Killed:
    """A daemon in a network namespace of its own, so that what is in there is its."""

    def __init__(self, base):
        self.lab = Lab()
        self.daemon = Daemon(base, self.lab)
        self.json = self.daemon.json

    def start(self, failpoint=""):
        """Start, to be killed there. Networks are restored behind the first answers: one that waits for them is asked for."""
        self.daemon.environment = {"BARQUE_FAILPOINT": f"{failpoint}:kill"} if failpoint else {}
        self.daemon.start()
        assert self.daemon.request("DELETE", "/networks/nothing")[0] == 404

    def attempt(self, method, path, body=None):
        """A request the daemon does not survive."""
        with pytest.raises((OSError, http.client.HTTPException)):
            self.daemon.request(method, path, body)
        assert self.daemon.process.wait(10) == -9

    def close(self):
        if not self.daemon.answers():
            self.start()
        self.daemon.close()
        self.lab.close()

    def await_bridges(self, count):
        """Bridges are deleted behind the answer."""
        deadline = time.monotonic() + 5
        while len(found := self.bridges()) != count:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def bridges(self):
        """The bridges of users' networks, by ip(8): sysfs shows the namespace it was mounted in."""
        lines = self.lab.run("ip", "-o", "link", "show", "type", "bridge").stdout.decode().splitlines()
        return [line for line in lines if ": bq-" in line]

    def names(self):
        return sorted(one["Name"] for one in self.json("GET", '/networks?filters={"type":["custom"]}'))

    def sh(self, container, script):
        done = self.daemon.docker("exec", container, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def await_seen(self, container, expected):
        """Routes are put right behind the first answers."""
        deadline = time.monotonic() + 5
        while (found := self.seen(container)) != expected:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def seen(self, container):
        """Its interfaces, that of the default route marked."""
        out = self.sh(
            container, "cd /sys/class/net; echo *; ip route | sed -n 's/^default .*dev \\([^ ]*\\).*/\\1/p'"
        )
        names, _, route = out.partition("\n")
        return [f"{name}*" if name == route else name for name in names.split() if name != "lo"]

    def networks(self, container):
        return set(self.json("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"])

    def answers(self):
        code = f"import socket; print(socket.create_connection(('127.0.0.1', {PORT}), 2).recv(9))"
        deadline = time.monotonic() + 5
        while b"here" not in self.lab.run("python3", "-c", code).stdout:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


@pytest.fixture
def killed(registry, workspace):
    killed = Killed(Path(tempfile.mkdtemp(dir=workspace)))
    try:
        killed.start("network.create")
        archive = workspace / "busybox.tar"
        assert killed.daemon.docker("load", "-q", "-i", str(archive)).returncode == 0
        yield killed
    finally:
        killed.close()


@pytest.mark.row("R1")
@pytest.mark.row("R3")
def test_killed_in_every_operation(killed):
    one = {"Name": "kka", "IPAM": {"Config": [{"Subnet": "10.202.0.0/24"}]}}
    killed.attempt("POST", "/networks/create", one)
    killed.await_bridges(1)  # it was made already
    killed.start("network.remove")
    assert killed.names() == []
    killed.await_bridges(0)
    killed.json("POST", "/networks/create", one)  # name and subnet are free
    killed.json("POST", "/networks/create", {"Name": "kkb"})

    killed.attempt("DELETE", "/networks/kka")
    killed.start("network.connect")
    assert killed.names() == ["kka", "kkb"]  # undone
    killed.await_bridges(2)
    body = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", "while true; do echo here | nc -l -p 80; done"],
        "HostConfig": {
            "NetworkMode": "kkb",
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}]},
        },
    }
    killed.json("POST", "/containers/create?name=kkc", body)
    killed.json("POST", "/containers/kkc/start")
    pid = killed.json("GET", "/containers/kkc/json")["State"]["Pid"]

    killed.attempt("POST", "/networks/kka/connect", {"Container": "kkc"})
    assert killed.answers()
    killed.start("network.route")
    killed.await_seen("kkc", ["eth0*"])
    assert killed.networks("kkc") == {"kkb"}  # undone
    assert killed.answers()

    killed.attempt("POST", "/networks/kka/connect", {"Container": "kkc"})
    killed.start("network.disconnect")
    killed.await_seen("kkc", ["eth0", "eth1*"])
    assert killed.networks("kkc") == {"kka", "kkb"}  # done
    assert killed.answers()

    killed.attempt("POST", "/networks/kka/disconnect", {"Container": "kkc"})
    killed.start()
    killed.await_seen("kkc", ["eth0*"])
    assert killed.networks("kkc") == {"kkb"}  # done
    assert killed.answers()
    assert killed.json("GET", "/networks/kka")["Containers"] == {}

    killed.json("POST", "/networks/kka/connect", {"Container": "kkc"})
    killed.daemon.docker("run", "-d", "--name", "kkp", "--network", "kkb", IMAGE, "sleep", "1000")
    killed.daemon.kill()
    assert killed.answers()  # while nobody is there
    killed.start()
    killed.await_seen("kkc", ["eth0", "eth1*"])
    assert killed.networks("kkc") == {"kka", "kkb"}
    assert "1 packets received" in killed.sh("kkp", "ping -c1 -W2 kkc")
    assert killed.json("GET", "/containers/kkc/json")["State"]["Pid"] == pid
