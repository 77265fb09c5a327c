"""Small things that clients see, on a real daemon, as dockerd 20.10 shows them: names, terminal sizes, networks, prunes."""

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root


@pytest.fixture
def here(daemon):
    """The daemon; what a test has named `sh-…` is gone at its end."""
    yield daemon
    for one in daemon.json("GET", "/containers/json?all=1"):
        if one["Names"][0].startswith("/sh-"):
            daemon.request("DELETE", f"/containers/{one['Id']}?force=1")
    for one in daemon.json("GET", "/networks"):
        if one["Name"].startswith("sh-"):
            daemon.request("DELETE", f"/networks/{one['Id']}")


def answer(got):
    status, body = got
    return status, json.loads(body)["message"] if status >= 400 else ""


def docker(here, *arguments):
    done = here.docker(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hostname_and_domain(here):
    script = "cat /etc/hostname; hostname; hostname -f; cat /proc/sys/kernel/domainname"
    words = ("run", "--rm", "--hostname", "web", "--domainname", "example.org", IMAGE, "sh", "-c", script)
    assert docker(here, *words).split() == ["web", "web", "web.example.org", "example.org"]


def test_a_terminal_begins_with_the_size_it_was_created_with(here):
    body = {
        "Image": IMAGE,
        "Cmd": ["stty", "size"],
        "Tty": True,
        "HostConfig": {"ConsoleSize": [31, 97]},
    }
    id = here.json("POST", "/containers/create?name=sh-size", body)["Id"]
    assert here.json("GET", f"/containers/{id}/json")["HostConfig"]["ConsoleSize"] == [31, 97]
    docker(here, "start", id)
    docker(here, "wait", id)
    assert docker(here, "logs", id).split() == ["31", "97"]


def test_ids_of_networks_are_shown_once_a_container_has_run(here):
    network = docker(here, "network", "create", "sh-net").strip()
    docker(here, "create", "--name", "sh-one", "--network", "sh-net", IMAGE, "true")

    def shown():
        return here.json("GET", "/containers/sh-one/json")["NetworkSettings"]["Networks"]["sh-net"]

    assert shown()["NetworkID"] == ""
    docker(here, "start", "sh-one")
    docker(here, "wait", "sh-one")
    assert (shown()["NetworkID"], shown()["EndpointID"], shown()["IPAddress"]) == (network, "", "")


def test_addresses_that_are_taken(here):
    config = {"Subnet": "10.207.1.0/24", "Gateway": "10.207.1.1"}
    here.json("POST", "/networks/create", {"Name": "sh-taken", "IPAM": {"Config": [config]}})
    overlap = {"Name": "sh-over", "IPAM": {"Config": [{"Subnet": "10.207.0.0/16"}]}}
    status, words = answer(here.request("POST", "/networks/create", overlap))
    assert (status, words) == (
        403,
        "invalid pool request: Pool overlaps with other one on this address space",
    )
    docker(
        here,
        "run",
        "-d",
        "--name",
        "sh-a",
        "--network",
        "sh-taken",
        "--ip",
        "10.207.1.9",
        IMAGE,
        "sleep",
        "99",
    )
    docker(here, "run", "-d", "--name", "sh-b", IMAGE, "sleep", "99")
    for address in ("10.207.1.9", "10.207.1.1"):  # another container's, the gateway's
        body = {"Container": "sh-b", "EndpointConfig": {"IPAMConfig": {"IPv4Address": address}}}
        status, words = answer(here.request("POST", "/networks/sh-taken/connect", body))
        assert (status, words.endswith("Address already in use")) == (403, True), words
    docker(here, "create", "--name", "sh-c", "--network", "sh-taken", "--ip", "10.207.1.9", IMAGE, "true")
    status, words = answer(here.request("POST", "/containers/sh-c/start"))
    assert (status, words.endswith("Address already in use")) == (403, True), words


def test_prunes_are_told(here):
    """Filters keep what other tests have."""
    before = time.time_ns()
    filters = quote('{"label":["sh-nothing-has-it"]}')
    for kind in ("containers", "networks", "volumes", "images"):
        here.json("POST", f"/{kind}/prune?filters={filters}")
    since, until = (f"{ns // 10**9}.{ns % 10**9:09d}" for ns in (before, time.time_ns()))
    status, data = here.request("GET", f"/events?since={since}&until={until}")
    events = [one for one in map(json.loads, data.splitlines()) if one["Action"] == "prune"]
    assert status == 200
    assert [one["Type"] for one in events] == ["container", "network", "volume", "image"]
    assert [one["Actor"]["ID"] for one in events] == [""] * 4
    assert [one["Actor"]["Attributes"] for one in events[:3]] == [{"reclaimed": "0"}] * 3


def test_where_devices_are_described(here):
    assert here.json("GET", "/info")["CDISpecDirs"] == ["/etc/cdi", "/var/run/cdi"]


def test_rotated_json_files_are_compressed(here):
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    options = ("--log-opt", "max-size=20k", "--log-opt", "max-file=50", "--log-opt", "compress=true")
    docker(here, "run", "--name", "sh-log", "--log-driver", "json-file", *options, IMAGE, "sh", "-c", script)
    log = here.json("GET", "/containers/sh-log/json")["LogPath"]
    deadline = time.monotonic() + 10
    while not Path(f"{log}.1.gz").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lines = [f"line {number}" for number in range(3000)]
    assert docker(here, "logs", "sh-log").split("\n")[:-1] == lines
    assert docker(here, "logs", "--tail", "2500", "sh-log").split("\n")[:-1] == lines[500:]
