"""Logs by the drivers local, syslog and journald, and macvlan networks: the docker CLI against a real daemon."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from registry_image import IMAGE

from barque_net_macvlan.options import MACVLAN
from barque_net_macvlan.probing import lacks

pytestmark = pytest.mark.root


@pytest.fixture
def run(daemon):
    """run(name, *options, script=…): a container that runs a script to its end, and is removed after the test."""
    made = []

    def start(name, *options, script):
        made.append(name)
        done = daemon.docker("run", "--name", name, *options, IMAGE, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield start
    for name in made:
        daemon.docker("rm", "-f", name)


def test_the_local_driver(daemon, run):
    options = (
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "--log-opt",
        "labels=team",
    )
    run("ld-local", *options, "--label", "team=web", script="seq 1 20000; echo end >&2")
    done = daemon.docker("logs", "--details", "--tail", "2", "ld-local")
    assert (done.stdout, done.stderr) == ("team=web 20000\n", "team=web end\n")
    kept = daemon.docker("logs", "ld-local").stdout.split()
    assert kept == [str(number) for number in range(int(kept[0]), 20001)]
    assert 1 < int(kept[0]) < 19000


@pytest.fixture
def server(workspace):
    path = workspace / "syslog"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(10)
        yield sock, f"syslog-address=unixgram://{path}"
    path.unlink()


def test_the_syslog_driver_and_the_copy_that_is_read(daemon, run, server):
    sock, address = server
    tag = "tag={{.ImageName}}/{{.Name}}"
    options = ("--log-driver", "syslog", "--log-opt", address, "--log-opt", tag)
    run("ld-syslog", *options, script="echo one; echo two >&2")
    got = sorted(re.sub(r"^<(\d+)>.{15} ", r"\1 ", sock.recv(9999).decode()) for _ in range(2))
    assert [re.sub(r"\[\d+\]", "", line) for line in got] == [
        f"27 {IMAGE}/ld-syslog: two\n", f"30 {IMAGE}/ld-syslog: one\n",
    ]  # fmt: skip
    done = daemon.docker("logs", "ld-syslog")
    assert (done.stdout, done.stderr) == ("one\n", "two\n")
    inspected = json.loads(daemon.docker("inspect", "ld-syslog").stdout)[0]["HostConfig"]["LogConfig"]
    assert inspected["Type"] == "syslog"
    assert inspected["Config"]["tag"] == "{{.ImageName}}/{{.Name}}"


def test_a_log_without_a_copy_cannot_be_read(daemon, run, server):
    _, address = server
    options = ("--log-driver", "syslog", "--log-opt", address, "--log-opt", "cache-disabled=true")
    run("ld-blind", *options, script="echo one")
    done = daemon.docker("logs", "ld-blind")
    assert done.returncode == 1
    assert "configured logging driver does not support reading" in done.stderr


@pytest.mark.row("R19")
def test_a_server_that_is_away_is_not_the_containers_trouble(daemon, run, workspace):
    address = f"syslog-address=unixgram://{workspace}/nobody"
    began = time.monotonic()
    assert run("ld-away", "--log-driver", "syslog", "--log-opt", address, script="seq 1 3") == "1\n2\n3\n"
    assert time.monotonic() - began < 10
    assert daemon.docker("logs", "ld-away").stdout == "1\n2\n3\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--log-driver", "local", "--log-opt", "x=y"), "unknown log opt 'x' for local log driver"),
        (("--log-driver", "syslog", "--log-opt", "syslog-address=x"), "syslog-address should be in form proto://address"),
        (("--log-driver", "syslog", "--log-opt", "cache-max-size=x"), "max-size"),
        (("--log-driver", "journald", "--log-opt", "tag={{.Nope}}"), "invalid tag template: {{.Nope}}"),
    ],
)  # fmt: skip
def test_options_that_are_refused(daemon, options, words):
    done = daemon.docker("create", "--network", "none", *options, IMAGE)
    assert done.returncode == 1
    assert words in done.stderr


def test_tag_labels_and_environment_in_json_lines(daemon, run):
    options = (
        "--log-opt",
        "tag={{.Name}}-{{truncate .ID 4}}",
        "--log-opt",
        "env-regex=^ST",
        "-e",
        "STAGE=test",
        "-e",
        "X=y",
    )
    run("ld-json", *options, script="echo one")
    id = daemon.docker("inspect", "-f", "{{.Id}}", "ld-json").stdout.strip()
    path = daemon.docker("inspect", "-f", "{{.LogPath}}", "ld-json").stdout.strip()
    with open(path) as file:
        assert json.loads(file.readline())["attrs"] == {"STAGE": "test", "tag": f"ld-json-{id[:4]}"}


@pytest.mark.skipif(bool(lacks(MACVLAN)), reason="the kernel makes no macvlan links")
def test_a_macvlan_network_of_the_users(daemon):
    def docker(*arguments):
        done = daemon.docker(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    docker("network", "create", "-d", "macvlan", "ld-lan")
    try:
        docker("run", "-d", "--name", "ld-one", "--network", "ld-lan", IMAGE, "sleep", "1000")
        docker("run", "--rm", "--network", "ld-lan", IMAGE, "ping", "-c1", "-W3", "ld-one")
        found = json.loads(docker("network", "inspect", "ld-lan"))[0]
        assert (found["Driver"], found["Internal"]) == ("macvlan", True)
        assert "default" not in docker("exec", "ld-one", "ip", "route")
        docker("network", "connect", "bridge", "ld-one")
        docker("exec", "ld-one", "ip", "address", "show", "eth1")
        docker("network", "disconnect", "ld-lan", "ld-one")
        assert daemon.docker("exec", "ld-one", "ip", "address", "show", "eth0").returncode != 0
    finally:
        daemon.docker("rm", "-f", "ld-one")
        docker("network", "rm", "ld-lan")
