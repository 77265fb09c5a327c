"""What is asked of the daemon itself: ping, info, plugins, swarms, and Docker's words for what goes wrong."""

import json
import threading

import pytest

from barque.spi.errors import Conflict, NotFound
from barque_api_docker import host_facts
from barque_api_docker.detach_keys import encoded_keys

NO_MANAGER = "This node is not a swarm manager."


def test_ping_headers(api):
    for method in ("GET", "HEAD"):
        status, headers, body = api.call(method, "/_ping")
        assert (status, body) == (200, b"OK" if method == "GET" else b"")
        assert (headers["builder-version"], headers["swarm"]) == ("1", "inactive")
        assert headers["cache-control"] == "no-cache, no-store, must-revalidate"


def test_info_by_version(api):
    old, new = api.json("GET", "/v1.41/info"), api.json("GET", "/v1.51/info")
    assert set(old) - set(new) == {"BridgeNfIptables", "BridgeNfIp6tables"}
    assert set(new) - set(old) == {"FirewallBackend"}
    assert set(old["RuncCommit"]) == {"ID", "Expected"}
    assert set(new["RuncCommit"]) == {"ID"}


def test_info_of_drivers(api):
    info = api.json("GET", "/info")
    assert info["Plugins"] == {
        "Volume": ["local"], "Network": ["bridge", "none"], "Authorization": None, "Log": ["json-file"],
    }  # fmt: skip
    assert (info["Driver"], info["DefaultRuntime"], info["LoggingDriver"]) == (
        "overlay",
        "native",
        "json-file",
    )
    assert "careful" in info["Warnings"]
    assert info["CDISpecDirs"] == ["/etc/cdi"]
    assert info["NGoroutines"] >= threading.active_count() - 5
    assert dict(info["DriverStatus"])["Profile"] == "test"


def test_info_counts_who_reads_events(api):
    with api.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(4096)
        assert api.json("GET", "/info")["NEventsListener"] == 1


def test_limits_are_those_of_the_kernel(monkeypatch, tmp_path):
    for place in ("memory", "cpu", "system.slice"):
        (tmp_path / place).mkdir()
    for file in (
        "memory/memory.limit_in_bytes",
        "cpu/cpu.shares",
        "system.slice/memory.max",
        "system.slice/pids.max",
    ):
        (tmp_path / file).touch()
    monkeypatch.setattr(host_facts, "_CGROUPS", str(tmp_path))
    host_facts.limits.cache_clear()
    try:
        able, lacking = host_facts.limits("1")
        assert [name for name, can in able.items() if can] == ["MemoryLimit", "CPUShares"]
        assert "WARNING: No swap limit support" in lacking
        able, _ = host_facts.limits("2")
        assert [name for name, can in able.items() if can] == ["MemoryLimit", "PidsLimit"]
    finally:
        host_facts.limits.cache_clear()


def test_passwords_of_proxies_stay_here(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy:3128/x")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert host_facts.proxies() == {
        "HttpProxy": "http://xxxxx:xxxxx@proxy:3128/x", "HttpsProxy": "http://proxy:3128", "NoProxy": "",
    }  # fmt: skip


def test_the_file_system_below_a_path():
    assert host_facts.file_system("/proc/sys") == "proc"
    assert host_facts.file_system("/") not in ("", "unknown")


def test_plugins_are_the_drivers_of_the_profile(api):
    found = {one["Name"]: one for one in api.json("GET", "/plugins")}
    assert set(found) == {
        "storage:overlay", "runtime:native", "network:bridge", "network:none", "volume:local", "log:json-file",
    }  # fmt: skip
    assert all(one["Enabled"] for one in found.values())
    bridge = found["network:bridge"]
    assert bridge["Config"]["Interface"]["Types"] == ["docker.networkdriver/1.0"]
    for name in ("network:bridge", "network:bridge:latest", bridge["Id"], bridge["Id"][:12]):
        assert api.json("GET", f"/plugins/{name}/json") == bridge


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"capability": ["volumedriver"]}, 1),
        ({"capability": ["nope"]}, 0),
        ({"enabled": ["false"]}, 0),
        ({"enabled": ["true"]}, 6),
    ],
)
def test_plugin_filters(api, filters, count):
    assert len(api.json("GET", f"/plugins?filters={json.dumps(filters, separators=(',', ':'))}")) == count


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        (
            "POST",
            "/plugins/network:bridge/enable?timeout=0",
            409,
            "plugin already enabled: plugin network:bridge is enabled",
        ),
        ("POST", "/plugins/network:bridge/disable", 409, "plugin network:bridge is in use"),
        ("DELETE", "/plugins/network:bridge", 409, "plugin network:bridge is in use"),
        (
            "POST",
            "/plugins/network:bridge/set",
            409,
            "cannot set on an active plugin, disable plugin before setting",
        ),
        ("POST", "/plugins/network:bridge/push", 501, "Barque does not run Docker's managed plugins"),
        ("POST", "/plugins/a/b:c/push", 404, 'plugin "a/b:c" not found'),
        ("DELETE", "/plugins/nope", 404, 'plugin "nope" not found'),
        ("POST", "/plugins/pull?remote=x", 501, "barque plugin ls"),
        ("GET", "/plugins?filters=%7B%22x%22:[]%7D", 400, "invalid filter 'x'"),
        ("GET", "/nodes", 503, NO_MANAGER),
        ("DELETE", "/secrets/x", 503, NO_MANAGER),
        ("POST", "/services/create", 503, NO_MANAGER),
        ("POST", "/services/x/update?version=1", 503, NO_MANAGER),
        (
            "POST",
            "/services/x/update",
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        ("POST", "/nodes/x/update?version=99999999999999999999", 400, "invalid node version"),
        ("POST", "/configs/x/update?version=-1", 400, "invalid config version"),
        ("GET", "/tasks/x/logs", 500, "Bad parameters: you must choose at least one stream"),
        ("GET", "/tasks/x/logs?stderr=1", 503, NO_MANAGER),
        ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
        ("POST", "/swarm/init", 501, "Barque has no swarm mode"),
        ("PUT", "/volumes/x", 503, "volume update only valid for cluster volumes, but swarm is unavailable"),
    ],
)
def test_plugins_and_swarms_that_are_not(api, method, path, status, words):
    assert words in api.message(method, path, status=status)


def test_statuses_of_dockers(api, engine):
    id = api.start("sleep", "9")
    engine.container_unpause = lambda ref: engine._called("container_unpause", ref)
    engine.fail["container_unpause"] = Conflict(f"container {id} is not paused")
    assert api.message("POST", f"/containers/{id}/unpause", status=500) == f"container {id} is not paused"
    engine.fail["container_kill"] = Conflict("container x is not running")
    assert (
        api.message("POST", "/containers/web/kill", status=409)
        == "cannot kill container: web: container x is not running"
    )
    engine.fail["container_start"] = NotFound("unable to find user bob: no matching entries in passwd file")
    assert "unable to find user" in api.message("POST", f"/containers/{id}/start", status=500)
    engine.fail["exec_resize"] = Conflict("exec x is not running")
    assert api.message("POST", "/exec/x/resize?h=1&w=1", status=404) == "no such exec"


def test_namespaces_of_a_container_that_is_not_there(api):
    for field in ("PidMode", "IpcMode"):
        body = {"Image": "bb:1", "HostConfig": {field: "container:nope"}}
        assert "No such container: nope" in api.message("POST", "/containers/create", body)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("x", 'bad format for add-host: "x"'),
        ("x:", "bad format"),
        (":1.2.3.4", "bad format"),
        ("x:nope", "invalid IP address in add-host"),
    ],
)
def test_bad_extra_hosts(api, entry, words):
    body = {"Image": "bb:1", "HostConfig": {"ExtraHosts": [entry]}}
    assert words in api.message("POST", "/containers/create", body)


@pytest.mark.parametrize("entry", ["x:1.2.3.4", "x:::1", "x=::1", "x:[::1]", "x=1.2.3.4", "x:host-gateway"])
def test_extra_hosts(api, engine, entry):
    api.json("POST", "/containers/create", {"Image": "bb:1", "HostConfig": {"ExtraHosts": [entry]}}, 201)
    (created,) = (call for call in engine.calls if call[0] == "container_create")
    assert created[2].extra_hosts == (entry,)


@pytest.mark.parametrize(
    ("keys", "encoded"), [("", ""), ("ctrl-a", "AQ=="), ("ctrl-p,ctrl-q", "EBE="), ("a,ctrl-]", "YR0=")]
)
def test_detach_keys_as_an_exec_shows_them(keys, encoded):
    assert encoded_keys(keys) == encoded


@pytest.mark.parametrize("minor", range(24, 52))
def test_every_version_is_served(api, minor):
    api.start("sleep", "9", name="one")
    for path in (
        "info",
        "version",
        "containers/json?size=0",
        "containers/one/json",
        "images/json",
        "images/bb:1/json",
        "plugins",
    ):
        assert api.json("GET", f"/v1.{minor}/{path}"), path
