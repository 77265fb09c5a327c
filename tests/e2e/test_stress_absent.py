"""What happens to containers with policies and healthchecks while no daemon runs, and beside another daemon (rows R2, R8)."""

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from registry_image import IMAGE
from stress_lab import stressed

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon():
    with stressed() as daemon:
        yield daemon


@pytest.fixture
def run(daemon):
    """run(name, script, policy=…, check=…): a container that runs `sh -c script`. All go at the end."""
    made = []

    def start(name, script, policy=None, check=None):
        body = {
            "Image": IMAGE, "Cmd": ["sh", "-c", script],
            "HostConfig": {"NetworkMode": "none", "RestartPolicy": policy or {"Name": "no"}},
        }  # fmt: skip
        if check:
            body["Healthcheck"] = {
                "Test": ["CMD-SHELL", check],
                "Interval": 50_000_000,
                "Timeout": 5 * 10**9,
                "Retries": 2,
            }
        made.append(name)
        daemon.json("POST", f"/containers/create?name={name}", body)
        daemon.json("POST", f"/containers/{name}/start")

    yield start
    if not daemon.answers():
        daemon.start()
    for name in made:
        daemon.request("DELETE", f"/containers/{name}?force=1")


def inspect(daemon, name):
    return daemon.json("GET", f"/containers/{name}/json")


def until(daemon, name, wanted, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not wanted(document := inspect(daemon, name)):
        assert time.monotonic() < deadline, document["State"]
        time.sleep(0.05)
    return document


def deaths(daemon, name):
    """(exit code, seconds) of each `die` event."""
    filters = quote(json.dumps({"container": [inspect(daemon, name)["Id"]], "event": ["die"]}))
    _, body = daemon.request("GET", f"/events?since=1&until={time.time():.3f}&filters={filters}")
    told = [json.loads(line) for line in body.splitlines() if line]
    return [(one["Actor"]["Attributes"]["exitCode"], one["timeNano"] / 1e9) for one in told]


@pytest.mark.row("R2")
def test_ends_in_the_daemons_absence_with_policies_and_healthchecks(daemon, run):
    """Code and time are those of the end, whatever the policy makes of it then."""
    ends = "sleep 1; exit {}"
    run("plain", ends.format(4), check="true")
    run("content", ends.format(0), {"Name": "on-failure"})
    run(
        "spent",
        "test -e /tried && exit 6; touch /tried; sleep 1; exit 5",
        {"Name": "on-failure", "MaximumRetryCount": 1},
    )
    run(
        "always",
        "test -e /tried && exec sleep 1000; touch /tried; sleep 1; exit 9",
        {"Name": "always"},
        check="true",
    )
    daemon.kill()
    time.sleep(1.6)
    back = time.time()
    daemon.start()
    plain, content = inspect(daemon, "plain"), inspect(daemon, "content")
    for document, code in ((plain, 4), (content, 0)):
        assert (document["State"]["Status"], document["State"]["ExitCode"]) == ("exited", code)
        assert document["State"]["FinishedAt"] < datetime.fromtimestamp(back, UTC).isoformat()
        assert document["RestartCount"] == 0
    assert plain["State"]["Health"]["Status"] != "starting", "what the shim had found was lost"
    until(daemon, "always", lambda d: d["State"]["Status"] == "running" and d["State"]["Pid"] > 0)
    assert [code for code, _ in deaths(daemon, "always")] == ["9"]
    spent = until(daemon, "spent", lambda d: d["State"]["Status"] == "exited" and d["RestartCount"] == 1)
    assert spent["State"]["ExitCode"] == 6
    assert [code for code, _ in deaths(daemon, "spent")] == [
        "5",
        "6",
        "6",
    ]  # a daemon that starts begins to count anew, as dockerd


@pytest.mark.row("R2")
def test_health_goes_on_in_the_daemons_absence(daemon, run):
    run("sick", "sleep 1; touch /sick; exec sleep 1000", check="date +%s >> /beats; ! test -e /sick")
    until(daemon, "sick", lambda d: d["State"]["Health"]["Status"] == "healthy")
    pid = inspect(daemon, "sick")["State"]["Pid"]
    daemon.kill()
    gone = time.time()
    time.sleep(2.2)
    back = time.time()
    daemon.start()
    found = until(daemon, "sick", lambda d: d["State"]["Health"]["Status"] == "unhealthy", 5)["State"]
    assert found["Pid"] == pid
    assert found["Health"]["FailingStreak"] >= 3
    beats = daemon.docker("exec", "sick", "cat", "/beats").stdout.split()
    assert sum(gone < int(beat) < back for beat in beats) >= 5, "no check ran while nobody was there"


@pytest.mark.row("R8")
def test_two_daemons_in_one_network_namespace_do_not_disturb_each_other(daemon):
    """On roots of their own, with bridges, addresses and rules of their own; what one does at its end spares the other."""
    base = Path(tempfile.mkdtemp(prefix="bq-s2-", dir="/tmp"))
    second = Daemon(base, daemon.lab)
    try:
        second.start()
        assert second.docker("load", "-q", "-i", str(daemon.base / "bb.tar")).returncode == 0
        for one, port, answer in ((daemon, 18591, "first"), (second, 18592, "second")):
            one.json("POST", "/networks/create", {"Name": "same"})
            for network in ("bridge", "same"):
                script = f"while true; do echo {answer} {network} | nc -l -p 80; done"
                body = {"Image": IMAGE, "Cmd": ["sh", "-c", script], "HostConfig": {
                    "NetworkMode": network, "PortBindings": {"80/tcp": [{"HostPort": str(port + 10 * (network == "same"))}]},
                }}  # fmt: skip
                one.json("POST", f"/containers/create?name={network}", body)
                one.json("POST", f"/containers/{network}/start")
        subnets = [
            one["IPAM"]["Config"][0]["Subnet"]
            for d in (daemon, second)
            for one in d.json("GET", "/networks")
            if one["IPAM"]["Config"]
        ]
        assert len(set(subnets)) == len(subnets) == 4
        expected = {18591: "first bridge", 18592: "second bridge", 18601: "first same", 18602: "second same"}
        assert answers(daemon, expected) == expected
        second.json("POST", "/containers/create?name=third", {
            "Image": IMAGE, "Cmd": ["true"], "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "18591"}]}},
        })  # fmt: skip
        status, body = second.request("POST", "/containers/third/start")
        assert status in (409, 500), body
        assert b"address already in use" in body or b"port is already allocated" in body
        daemon.kill()
        second.stop()
        second.start()
        assert answers(daemon, expected) == expected
        daemon.start()
        second.close()
        left = {port: text for port, text in expected.items() if "first" in text}
        assert answers(daemon, left) == left
        assert "bq-s2" not in Path("/proc/mounts").read_text()
    finally:
        if second.process.poll() is None:
            second.close()
        if not daemon.answers():
            daemon.start()
        for name in ("bridge", "same"):
            daemon.request("DELETE", f"/containers/{name}?force=1")
        daemon.json("DELETE", "/networks/same")


def answers(daemon, ports):
    """What is said at each of the ports on loopback; asked for some seconds, since a listener comes again for each client."""
    code = "import socket; print(socket.create_connection(('127.0.0.1', {}), 2).recv(99).decode(), end='')"
    found = {}
    deadline = time.monotonic() + 10
    while len(found) < len(ports) and time.monotonic() < deadline:
        for port in ports.keys() - found.keys():
            said = daemon.lab.run("python3", "-c", code.format(port)).stdout.decode().strip()
            if said:
                found[port] = said
    return found
