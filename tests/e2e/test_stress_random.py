"""Eight threads do to containers, networks and volumes whatever comes to mind: no 500, no deadlock, nothing left (row R36).

The suite does it for some seconds; `BARQUE_STRESS=full` for ten minutes. `BARQUE_SEED` repeats what a thread would do (not how the
threads meet).
"""

import http.client
import json
import os
import random
import re
import threading
import time

import pytest
from cgroup_parents import remove_cgroups
from registry_image import IMAGE
from stress_lab import FULL, becomes, census, hijacked, stressed, where

pytestmark = pytest.mark.root

SECONDS = 600 if FULL else 8
THREADS = 8
FIND = "BARQUE_STRESS_ALL" in os.environ
SLOWEST = 60.0  # no request takes that long but one that waits for a lock for ever
PARENT = f"/bq-random-{os.getpid()}"
CONTAINERS, NETWORKS, VOLUMES = (
    [f"{kind}{n}" for n in range(count)] for kind, count in (("c", 12), ("n", 4), ("v", 4))
)
COMMANDS = (
    ["sleep", "1000"],
    ["sleep", "0.3"],
    ["sh", "-c", "exit 3"],
    ["cat"],
    ["sh", "-c", "trap '' TERM; while sleep 0.05; do echo tick; done"],
    ["/nothing/there"],
)
POLICIES = (
    {"Name": "no"},
    {"Name": "no"},
    {"Name": "always"},
    {"Name": "on-failure", "MaximumRetryCount": 3},
    {"Name": "unless-stopped"},
)
# Where dockerd answers 500 too, and its clients know it: the request makes no sense, or a port is taken.
DOCKERS_500 = re.compile(
    "not paused|is not connected to (the )?network|port is already allocated|address already in use"
)
HEALTH = {"Test": ["CMD", "true"], "Interval": 200_000_000, "Timeout": 1_000_000_000, "Retries": 2}


class Monkey:
    """One client. `faults` gets what must not be."""

    def __init__(self, daemon, seed, until, faults):
        self.daemon, self.chance, self.until, self.faults = daemon, random.Random(seed), until, faults
        self.done = {}

    def run(self):
        actions = (
            [self.create] * 6 + [self.start] * 6 + [self.signal] * 4 + [self.pause] * 3 + [self.execute] * 4 + [self.attach] * 2
            + [self.logs] * 2 + [self.connect] * 4 + [self.network] * 3 + [self.volume] * 3 + [self.alter] * 3 + [self.remove] * 4
            + [self.look] * 4 + [self.prune]
        )  # fmt: skip
        while time.monotonic() < self.until and (FIND or not self.faults):
            action = self.chance.choice(actions)
            try:
                action()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append((action.__name__, repr(error)))
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1

    def ask(self, method, path, body=None):
        begun = time.monotonic()
        status, answer = self.daemon.request(method, path, body, timeout=SLOWEST)
        if status >= 500 and not DOCKERS_500.search(answer.decode()):
            self.faults.append(
                (method, path, body, status, answer.decode(), round(time.monotonic() - begun, 2))
            )
        return status, answer

    def one(self, names):
        return self.chance.choice(names)

    def perhaps(self, share=0.3):
        return self.chance.random() < share

    def create(self):
        policy = self.one(POLICIES)
        mode = self.one(["none", "bridge", *NETWORKS, "container:" + self.one(CONTAINERS)])
        host = {
            "CgroupParent": PARENT,
            "RestartPolicy": policy,
            "NetworkMode": mode,
            "AutoRemove": policy["Name"] == "no" and self.perhaps(),
            "Init": self.perhaps(0.2),
            "Binds": [f"{self.one(VOLUMES)}:/v"] if self.perhaps() else [],
        }
        if self.perhaps() and mode in ("bridge", *NETWORKS):
            host["PortBindings"] = {"80/tcp": [{"HostPort": self.one(["", "18581", "18582"])}]}
        body = {
            "Image": IMAGE,
            "Cmd": self.one(COMMANDS),
            "HostConfig": host,
            "Tty": self.perhaps(0.2),
            "OpenStdin": self.perhaps(),
        }
        if self.perhaps(0.2):
            body["Healthcheck"] = HEALTH
        if self.perhaps(0.2):
            body["Volumes"] = {"/anonymous": {}}
        status, _ = self.ask("POST", f"/containers/create?name={(name := self.one(CONTAINERS))}", body)
        if status == 201 and self.perhaps(0.8):
            self.ask("POST", f"/containers/{name}/start")

    def start(self):
        verb = self.one(["start", "start", "restart?t=0"])
        self.ask("POST", f"/containers/{self.one(CONTAINERS)}/{verb}")

    def signal(self):
        verb = self.one(["stop?t=0", "stop?t=1", "kill", "kill?signal=TERM", "kill?signal=USR1"])
        self.ask("POST", f"/containers/{self.one(CONTAINERS)}/{verb}")

    def pause(self):
        self.ask("POST", f"/containers/{(name := self.one(CONTAINERS))}/pause")
        if self.perhaps(0.8):
            self.ask("POST", f"/containers/{name}/unpause")

    def execute(self):
        body = {
            "Cmd": self.one([["true"], ["sleep", "0.2"], ["head", "-c", "300000", "/dev/zero"], ["nothing"]]),
            "AttachStdout": True,
        }
        status, answer = self.ask("POST", f"/containers/{self.one(CONTAINERS)}/exec", body)
        if status != 201:
            return
        id = json.loads(answer)["Id"]
        self.stream(f"/exec/{id}/start", json.dumps({"Detach": self.perhaps()}).encode())
        self.ask("GET", f"/exec/{id}/json")

    def attach(self):
        self.stream(
            f"/containers/{self.one(CONTAINERS)}/attach?stream=1&stdout=1&stdin=1&logs={self.chance.randrange(2)}"
        )

    def stream(self, path, body=b""):
        """Read some of it, and go."""
        with hijacked(self.daemon, path, body, SLOWEST) as (client, first):
            if first.startswith(b"HTTP/1.1 5"):
                self.faults.append(("POST", path, body, first.decode()))
            client.settimeout(0.1 if self.perhaps(0.7) else 1)
            try:
                while self.perhaps(0.9) and client.recv(65536):
                    pass
            except TimeoutError:
                pass

    def logs(self):
        self.ask("GET", f"/containers/{self.one(CONTAINERS)}/logs?stdout=1&stderr=1&tail=20")

    def connect(self):
        verb = self.one(["connect", "connect", "disconnect"])
        body = {"Container": self.one(CONTAINERS), "Force": self.perhaps()}
        self.ask("POST", f"/networks/{self.one(NETWORKS)}/{verb}", body)

    def network(self):
        name = self.one(NETWORKS)
        if self.perhaps(0.6):
            self.ask("POST", "/networks/create", {"Name": name, "Internal": self.perhaps(0.2)})
        else:
            self.ask("DELETE", f"/networks/{name}")

    def volume(self):
        name = self.one(VOLUMES)
        if self.perhaps(0.6):
            self.ask("POST", "/volumes/create", {"Name": name})
        else:
            self.ask("DELETE", f"/volumes/{name}")

    def alter(self):
        name = self.one(CONTAINERS)
        if self.perhaps(0.5):
            self.ask("POST", f"/containers/{name}/rename?name={self.one(CONTAINERS)}")
        else:
            self.ask(
                "POST", f"/containers/{name}/update", {"RestartPolicy": self.one(POLICIES), "PidsLimit": 50}
            )

    def remove(self):
        self.ask(
            "DELETE",
            f"/containers/{self.one(CONTAINERS)}?force={self.one([0, 1, 1])}&v={self.chance.randrange(2)}",
        )

    def look(self):
        name = self.one(CONTAINERS)
        self.ask("GET", self.one([
            "/containers/json?all=1", "/networks", "/volumes", "/info", f"/containers/{name}/json", f"/containers/{name}/top",
            f"/containers/{name}/stats?stream=0&one-shot=1", f"/networks/{self.one(NETWORKS)}", "/system/df", f"/containers/{name}/changes",
        ]))  # fmt: skip

    def prune(self):
        self.ask("POST", f"/{self.one(['containers', 'networks', 'volumes'])}/prune")


@pytest.mark.row("R36")
@pytest.mark.timeout(SECONDS + 120)
def test_eight_threads_of_random_lifecycle():
    seed = int(os.environ.get("BARQUE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    with stressed() as daemon:
        warm(daemon)
        before = census(daemon, PARENT)
        faults = []
        until = time.monotonic() + SECONDS
        monkeys = [Monkey(daemon, seed + number, until, faults) for number in range(THREADS)]
        threads = [threading.Thread(target=monkey.run) for monkey in monkeys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = "\n".join(map(str, faults))
        if "TimeoutError" in told:
            told += where(daemon)
        assert not faults, f"seed {seed}:\n{told}"
        everything_goes(daemon)
        becomes(before, lambda: census(daemon, PARENT))
        log = daemon.log.read_text()
        assert "Traceback" not in log, log[-8000:]
        done = {name: sum(m.done.get(name, 0) for m in monkeys) for name in monkeys[0].done}
        print(f"seed {seed}: {sum(done.values())} operations {done}")
        assert sum(done.values()) > SECONDS * 5  # none waits for a lock for long
    remove_cgroups(PARENT)


def warm(daemon):
    """What comes with the first container and stays."""
    body = {
        "Image": IMAGE,
        "Cmd": ["true"],
        "HostConfig": {"CgroupParent": PARENT, "PortBindings": {"80/tcp": [{"HostPort": ""}]}},
    }
    daemon.json("POST", "/networks/create", {"Name": "warm"})
    for network in ("bridge", "warm"):
        body["HostConfig"]["NetworkMode"] = network
        id = daemon.json("POST", "/containers/create", body)["Id"]
        daemon.json("POST", f"/containers/{id}/start")
        daemon.json("POST", f"/containers/{id}/wait")
        daemon.json("DELETE", f"/containers/{id}?force=1")
    daemon.json("DELETE", "/networks/warm")
    time.sleep(1)


def everything_goes(daemon):
    """Whatever state they are in, each goes at the first asking."""
    for container in daemon.json("GET", "/containers/json?all=1"):
        status, answer = daemon.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        assert status in (204, 404), answer
    for network in daemon.json("GET", '/networks?filters={"type":["custom"]}'):
        daemon.json("DELETE", f"/networks/{network['Id']}")
    for volume in daemon.json("GET", "/volumes")["Volumes"]:
        daemon.json("DELETE", f"/volumes/{volume['Name']}")
