"""Operations on containers: inspect, list and its filters, start, stop, kill, wait, remove."""

import json
import time
from dataclasses import replace
from urllib.parse import quote

import pytest
from api_client import read_all, read_head

from barque.spi.errors import NotFound
from barque_api_docker.filters import Filters


def listed(api, filters=None, query="all=1"):
    return api.json("GET", f"/containers/json?{query}&filters={quote(json.dumps(filters or {}))}")


def names(api, filters=None, query="all=1"):
    return {one["Names"][0][1:] for one in listed(api, filters, query)}


def test_inspect_is_complete(api, engine):
    id = api.start(
        "sleep", "9", name="web", Labels={"a": "b"}, AttachStdout=True, ExposedPorts={"77/tcp": {}},
        HostConfig={
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "90/udp": [{"HostIp": "127.0.0.1"}]},
            "Binds": ["/tmp:/t:ro"], "Memory": 64 << 20, "NetworkMode": "default",
        },
    )  # fmt: skip
    got = api.json("GET", "/containers/web/json")
    assert (got["Id"], got["Name"], got["Path"], got["Args"]) == (id, "/web", "sleep", ["9"])
    state = got["State"]
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"]) == ("running", True, 4242, 0)
    assert state["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert state["StartedAt"].startswith("20")
    host = got["HostConfig"]
    assert host["PortBindings"]["80/tcp"] == [{"HostPort": "8080"}]
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (64 << 20, 128 << 20, 64 << 20)
    assert (host["NetworkMode"], host["Runtime"], host["Privileged"]) == ("bridge", "native", False)
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert "/proc/kcore" in host["MaskedPaths"]
    config = got["Config"]
    assert (config["Image"], config["Labels"], config["AttachStdout"]) == ("bb:1", {"a": "b"}, True)
    assert set(config["ExposedPorts"]) == {"77/tcp", "80/tcp", "90/udp"}
    network = got["NetworkSettings"]
    assert (network["IPAddress"], network["IPPrefixLen"], network["Gateway"]) == (
        "172.17.0.2",
        16,
        "172.17.0.1",
    )
    assert network["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    assert network["Ports"] == {
        "77/tcp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "90/udp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
    }
    assert got["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/tmp",
            "Destination": "/t",
            "Mode": "ro",
            "RW": False,
            "Propagation": "rprivate",
        }
    ]
    assert (got["LogPath"], got["Driver"], got["Platform"], got["ExecIDs"]) == (
        "/tmp/log",
        "overlay",
        "linux",
        None,
    )
    assert "SizeRootFs" not in got
    assert api.json("GET", "/containers/web/json?size=1")["SizeRootFs"] == 1234567


def test_inspect_before_the_start_shows_the_network_asked_for(api):
    id = api.create("sleep", "1", HostConfig={"NetworkMode": "own"})
    network = api.json("GET", f"/containers/{id}/json")["NetworkSettings"]
    assert (list(network["Networks"]), network["Ports"], network["IPAddress"]) == (["own"], {}, "")


def test_list_shows_what_ps_needs(api, engine):
    api.start("sleep", "9 9", name="run", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    api.create("echo", name="new")
    api.start("exit", "3", name="end")
    time.sleep(0.05)
    running, *_ = listed(api, query="all=0")
    assert running["Names"] == ["/run"]
    assert (running["Image"], running["Command"], running["State"]) == ("bb:1", "sleep '9 9'", "running")
    assert running["Ports"] == [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]
    assert running["Status"] == "Up Less than a second"
    assert running["HostConfig"] == {"NetworkMode": "bridge"}
    assert running["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    by_name = {one["Names"][0]: one["Status"] for one in listed(api)}
    assert by_name["/new"] == "Created"
    assert by_name["/end"] == "Exited (3) Less than a second ago"
    assert [one["Names"][0] for one in listed(api, query="limit=2")] == ["/end", "/new"]
    assert listed(api, query="all=1&size=1")[0]["SizeRootFs"] == 1234567


def test_list_shows_the_id_of_an_image_whose_name_moved(api, engine):
    api.create("echo", name="old")
    image = next(iter(engine.images.values()))
    engine.images = {"x": replace(image, id="sha256:" + "9" * 64)}
    assert listed(api)[0]["Image"] == image.id
    engine.images = {}
    assert listed(api)[0]["Image"] == image.id


def test_filters(api, engine):
    api.start(
        "sleep", "9", name="aa1", Labels={"k": "v", "x": ""}, HostConfig={"PortBindings": {"80/tcp": [{}]}}
    )
    api.create(
        "echo", name="bb1", Labels={"k": "w"}, ExposedPorts={"90/udp": {}}, HostConfig={"Binds": ["/tmp:/t"]}
    )
    api.start("exit", "3", name="cc1", HostConfig={"NetworkMode": "own"})
    time.sleep(0.05)
    id = engine.container_get("bb1").id
    for filters, expected in [
        ({}, {"aa1", "bb1", "cc1"}),
        ({"label": ["k"]}, {"aa1", "bb1"}),
        ({"label": ["k=v"]}, {"aa1"}),
        ({"label": {"k=v": True}}, {"aa1"}),
        ({"label": ["k", "x"]}, {"aa1"}),
        ({"name": ["a"]}, {"aa1"}),
        ({"name": ["^/bb"]}, {"bb1"}),
        ({"name": ["aa1", "bb1"]}, {"aa1", "bb1"}),
        ({"name": ["("]}, set()),
        ({"id": [id[:12]]}, {"bb1"}),
        ({"status": ["exited"]}, {"cc1"}),
        ({"status": ["running", "created"]}, {"aa1", "bb1"}),
        ({"exited": ["3"]}, {"cc1"}),
        ({"exited": ["0"]}, set()),
        ({"ancestor": ["bb:1"]}, {"aa1", "bb1", "cc1"}),
        ({"ancestor": ["nope"]}, set()),
        ({"before": ["cc1"]}, {"aa1", "bb1"}),
        ({"since": [id]}, {"cc1"}),
        ({"since": ["aa1"], "before": ["cc1"]}, {"bb1"}),
        ({"volume": ["/t"]}, {"bb1"}),
        ({"volume": ["/tmp"]}, {"bb1"}),
        ({"publish": ["32768"]}, {"aa1"}),
        ({"publish": ["32768/udp"]}, set()),
        ({"publish": ["80"]}, set()),
        ({"expose": ["70-80"]}, {"aa1"}),
        ({"expose": ["80-90/udp"]}, set()),  # it does not run
        ({"network": ["own"]}, {"cc1"}),
        ({"network": ["7777"]}, {"aa1"}),
        ({"is-task": ["true"]}, set()),
        ({"is-task": ["false"]}, {"aa1", "bb1", "cc1"}),
        ({"health": ["none"]}, {"aa1", "bb1", "cc1"}),
        ({"health": ["healthy"]}, set()),
        ({"label": ["k"], "status": ["running"]}, {"aa1"}),
    ]:
        assert names(api, filters) == expected, filters
    assert names(api, {"status": ["exited"]}, "all=0") == {"cc1"}


@pytest.mark.parametrize(
    ("filters", "status", "message"),
    [
        ('{"x":["y"]}', 400, "invalid filter 'x'"),
        ('{"status":["y"]}', 400, "invalid filter 'status=y'"),
        ('{"health":["y"]}', 400, "unrecognized filter value for health: y"),
        ('{"exited":["y"]}', 400, "invalid filter 'exited=y'"),
        ('{"is-task":["y"]}', 400, "invalid filter 'is-task=[y]'"),
        ('{"publish":["y"]}', 400, 'invalid port specification: "y"'),
        ('{"before":["y"]}', 404, "no such container y"),
        ('{"label":[1]}', 400, "invalid filter 'label'"),
        ('{"label":"x"}', 400, "invalid filter 'label'"),
        ("[]", 400, "invalid filter"),
        ("abc", 400, "invalid filter"),
    ],
)
def test_bad_filters(api, filters, status, message):
    assert message in api.message("GET", f"/containers/json?filters={quote(filters)}", status=status)


def test_filter_primitives():
    filters = Filters.parse(
        '{"label":["a","b=1"],"name":{"x":true,"y":true},"none":[]}', {"label", "name", "none"}
    )
    assert filters.labels({"a": "", "b": "1"})
    assert not filters.labels({"a": "", "b": "2"})
    assert filters.values("name") == ("x", "y")
    assert "none" not in filters
    assert filters.exact("none", "whatever")
    assert not Filters.parse(None, ())


def test_start_and_stop(api, engine):
    id = api.create("sleep", "9")
    assert api.call("POST", f"/containers/{id}/start")[0] == 204
    assert api.call("POST", f"/containers/{id}/start")[0] == 304
    assert api.call("POST", f"/containers/{id}/stop?t=3&signal=INT")[0] == 204
    assert engine.calls[-1] == ("container_stop", id, "INT", 3)
    assert api.call("POST", f"/containers/{id}/stop?t=-1")[0] == 304
    assert engine.calls[-1] == ("container_stop", id, None, -1)
    assert api.call("POST", f"/containers/{id}/restart?t=0")[0] == 204
    assert engine.calls[-1] == ("container_restart", id, None, 0)
    assert api.call("POST", f"/containers/{id}/rename?name=new")[0] == 204
    assert engine.calls[-1] == ("container_rename", id, "new")
    assert "invalid syntax" in api.message("POST", f"/containers/{id}/stop?t=x")
    assert api.message("POST", "/containers/nope/start", status=404) == "No such container: nope"


def test_program_that_cannot_be_executed_is_a_400(api, engine):
    id = api.create("sleep", "9")
    engine.fail["container_start"] = NotFound(
        'exec: "nope": executable file not found in $PATH', exit_code=127
    )
    assert (
        api.message("POST", f"/containers/{id}/start") == 'exec: "nope": executable file not found in $PATH'
    )


def test_kill_and_remove(api, engine):
    id = api.start("sleep", "9", name="web")
    assert api.call("DELETE", "/containers/web")[0] == 409
    assert api.call("POST", "/containers/web/kill?signal=HUP")[0] == 204
    assert engine.calls[-1] == ("container_kill", "web", "HUP")
    assert api.call("POST", "/containers/web/kill")[0] == 409
    assert engine.calls[-1] == ("container_kill", "web", "SIGKILL")
    assert api.call("DELETE", f"/containers/{id}?force=true&v=1")[0] == 204
    assert engine.calls[-1] == ("container_remove", id, True, True, False)
    assert api.call("DELETE", f"/containers/{id}")[0] == 404


def test_resize(api, engine):
    id = api.create("sleep", "9")
    assert api.call("POST", f"/containers/{id}/resize?h=24&w=80")[0] == 200
    assert engine.calls[-1] == ("container_resize", id, 24, 80)
    assert api.call("POST", f"/containers/{id}/resize?h=a")[0] == 400
    assert api.call("POST", f"/containers/{id}/resize?h=70000&w=1")[0] == 400


def test_wait_sends_its_head_before_the_container_ends(api, engine):
    id = api.create("sleep", "9")
    with api.connect() as sock:
        sock.sendall(
            f"POST /containers/{id}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        head = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Transfer-Encoding: chunked" in head
        api.call("POST", f"/containers/{id}/start")
        api.call("POST", f"/containers/{id}/kill")
        assert read_all(sock) == b'13\r\n{"StatusCode":137}\n\r\n0\r\n\r\n'
    assert engine.waiters[-1].closed


def test_wait_keeps_the_connection_usable(api, engine):
    id = api.start("exit", "7")
    with api.connect() as sock:
        for _ in range(2):
            sock.sendall(f"POST /containers/{id}/wait HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            read_head(sock)
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got += sock.recv(100)
            assert b'{"StatusCode":7}' in got
    assert api.message("POST", f"/containers/{id}/wait?condition=soon") == 'invalid condition: "soon"'
    assert api.call("POST", "/containers/nope/wait")[0] == 404


@pytest.mark.row("S36")
def test_abandoned_wait_is_let_go(api, engine):
    id = api.create("sleep", "9")
    sock = api.connect()
    sock.sendall(f"POST /containers/{id}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    read_head(sock)
    sock.close()
    deadline = time.monotonic() + 3
    while not engine.waiters[-1].closed:
        assert time.monotonic() < deadline
        time.sleep(0.02)
