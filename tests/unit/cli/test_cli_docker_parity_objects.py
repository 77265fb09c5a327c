"""Networks, volumes and what changes containers: the same requests, output and exit codes as the real docker client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request

ID = "4f1c" * 16
NETWORK = {"Id": "1" * 64, "Name": "front", "Driver": "bridge", "Scope": "local", "Internal": True, "Labels": {"x": "y"},
           "Created": "2026-11-21T10:00:00.5+01:00", "EnableIPv4": True, "EnableIPv6": False}  # fmt: skip
VOLUMES = [
    {"CreatedAt": "2026-11-21T10:00:00Z", "Driver": "local", "Labels": {"a": "b"}, "Mountpoint": "/v/web-data/_data",
     "Name": "web-data", "Options": {"type": "tmpfs"}, "Scope": "local"},
    {"CreatedAt": "2026-11-20T10:00:00Z", "Driver": "local", "Labels": None, "Mountpoint": "/v/a/_data", "Name": "a" * 64,
     "Options": None, "Scope": "local"},
]  # fmt: skip
PORTS = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
         "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}], "443/tcp": None,
         "100/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}]}  # fmt: skip


def sample(name: str, busy: int, *, cgroup: int = 2) -> dict[str, Any]:
    cache = {"inactive_file": 1_000_000} if cgroup == 2 else {"total_inactive_file": 1_000_000}
    return {
        "id": ID, "name": f"/{name}", "read": "2026-11-21T10:00:01Z", "preread": "2026-11-21T10:00:00Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 5_000_000_000 + busy}, "system_cpu_usage": 20_000_000_000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 5_000_000_000}, "system_cpu_usage": 18_000_000_000, "online_cpus": 2},
        "memory_stats": {"usage": 51_000_000, "limit": 1_073_741_824, "stats": cache},
        "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 3}, "eth1": {"rx_bytes": 1_000_000, "tx_bytes": 70}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "Write", "value": 12_345_678}]},
        "pids_stats": {"current": 7},
    }  # fmt: skip


@pytest.fixture
def same(quick: Any, docker: Any) -> Callable[..., None]:
    """The same standard output and exit code; `stderr` too, where docker says its own name in neither."""

    def compare(*arguments: str, stdin: bytes = b"", stderr: bool = True) -> None:
        theirs, ours = docker(*arguments, stdin=stdin), quick(*arguments, stdin=stdin)
        assert ours.stdout.decode() == theirs.stdout.decode()
        assert ours.returncode == theirs.returncode, ours.stderr
        if stderr:
            assert ours.stderr.decode() == theirs.stderr.decode().replace("docker", "barque").replace(
                "\nexit status 1", ""
            )

    return compare


def says(value: Any) -> Any:
    """A document without what says nothing."""
    if isinstance(value, dict):
        found = {key: says(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, "", 0, False, {}, [])}
    return [says(item) for item in value] if isinstance(value, list) else value


NETWORK_FLAGS = {
    "plain": [],
    "one subnet": ["--subnet", "10.5.0.0/16", "--gateway", "10.5.0.1", "--ip-range", "10.5.128.0/17", "-o", "a=b"],
    "two": ["--subnet", "10.5.0.0/16,fd00:5::/64", "--ipv6", "--gateway", "fd00:5::1", "--aux-address", "host=10.5.0.9"],
    "driver": ["-d", "macvlan", "--opt", "parent=eth0", "--attachable", "--internal", "--label", "a=b", "--label", "c"],
    "ipam": ["--ipam-driver", "null", "--ipam-opt", "x=y", "--scope", "local", "--ipv4=false", "--ingress"],
    "copy": ["--config-from", "other"],
    "config only": ["--config-only"],
}  # fmt: skip


@pytest.mark.parametrize("flags", NETWORK_FLAGS.values(), ids=NETWORK_FLAGS.keys())
def test_network_create(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("POST /networks/create", {"Id": "n" * 64, "Warning": "careful"}, 201)
    same("network", "create", *flags, "front")
    theirs, ours = (says(request.document) for request in daemon.seen("POST /networks/create"))
    for document in (theirs, ours):
        document.get("IPAM", {}).get("Config", []).sort(key=lambda one: one["Subnet"])
    assert ours == theirs


@pytest.mark.parametrize(
    "flags",
    [
        ["--gateway", "10.5.0.1"], ["--subnet", "10.5.0.0/16", "--gateway", "10.6.0.1"],
        ["--subnet", "10.5.0.0/16", "--ip-range", "10.6.0.0/24"], ["--subnet", "10.5.0.0/16", "--ip-range", "10.5.0.1"],
        ["--subnet", "10.5.0.0/16", "--subnet", "10.5.7.0/24"], ["--subnet", "10.5.0.0/16", "--aux-address", "a=10.6.0.1"],
        ["--subnet", "10.5.0.0/16,10.6.0.0/16", "--gateway", "10.5.0.1,10.5.0.2"], ["--ipv6=maybe"], ["--label", "=x"],
    ],
    ids=str,
)  # fmt: skip
def test_network_create_refuses(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    same("network", "create", *flags, "front")
    assert not daemon.seen("POST .*")


@pytest.mark.parametrize(
    "flags",
    [
        [], ["--ip", "10.5.0.9", "--ip6", "fd00::9", "--link-local-ip", "169.254.1.1"],
        ["--alias", "a,b", "--alias", "c", "--link", "db:d", "--driver-opt", "x=y", "--gw-priority", "-4"],
    ],
    ids=str,
)  # fmt: skip
def test_network_connect(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.route("POST /networks/front/.*", lambda _r, answer: answer.send(200, b""))
    same("network", "connect", *flags, "front", "web")
    theirs, ours = (says(request.document) for request in daemon.seen("POST /networks/front/connect"))
    assert ours == theirs
    same("network", "disconnect", "-f", "front", "web")
    theirs, ours = (request.document for request in daemon.seen("POST /networks/front/disconnect"))
    assert ours == theirs == {"Container": "web", "Force": True}
    same("network", "connect", "--driver-opt", "x", "front", "web")


def test_network_rm(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /networks/.*", NETWORK)
    daemon.no_content("DELETE /networks/front")
    daemon.refuse("DELETE /networks/used", 403, "network used has active endpoints")
    daemon.refuse("DELETE /networks/gone", 404, "network gone not found")
    same("network", "rm", "front", "used", "gone", stderr=False)
    same("network", "remove", "-f", "gone", "front")
    same("network", "rm", "-f", "gone", "used")


@pytest.mark.parametrize(
    "flags",
    [
        [], ["-q"], ["--format", "json"], ["--filter", "dangling=true", "--filter", "name=a", "-q"], ["--cluster"],
        ["--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.Mountpoint}} {{.Labels}} {{.Label \"a\"}} {{.Links}} {{.Size}}"],
        ["--format", "table {{.Name}}\\t{{.Mountpoint}}\\t{{.Availability}}\\t{{.Group}}\\t{{.Status}}\\t{{.Links}}"],
        ["--format", "{{.Nonsense}}"],
    ],
    ids=str,
)  # fmt: skip
def test_volume_ls(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("GET /volumes", {"Volumes": VOLUMES, "Warnings": None})
    same("volume", "ls", *flags, stderr=False)
    filters = [json.loads(request.query.get("filters") or "{}") for request in daemon.seen("GET /volumes")]
    assert filters[0] == filters[-1]


@pytest.mark.parametrize(
    "words",
    [[], ["data"], ["-d", "nfs", "-o", "type=nfs", "--opt", "device=:/x", "--label", "a=b", "data"]],
    ids=str,
)
def test_volume_create(same: Any, daemon: FakeDaemon, words: list[str]) -> None:
    daemon.answer("POST /volumes/create", {"Name": "made"}, 201)
    same("volume", "create", *words)
    theirs, ours = (says(request.document) for request in daemon.seen("POST /volumes/create"))
    assert ours == theirs


def test_volume_inspect_rm_and_update(same: Any, quick: Any, daemon: FakeDaemon) -> None:
    daemon.refuse("GET /volumes/gone", 404, "get gone: no such volume")
    daemon.answer("GET /volumes/data", VOLUMES[0])
    daemon.no_content("DELETE /volumes/data")
    daemon.refuse("DELETE /volumes/used", 409, "remove used: volume is in use - [4f1c]")
    same("volume", "inspect", "data", "gone")
    same("volume", "inspect", "-f", '{{.Mountpoint}} {{index .Labels "a"}} {{.Options}}', "data")
    same("volume", "rm", "-f", "data", "used")
    assert daemon.seen("DELETE /volumes/data")[-1].query["force"] == "1"
    same("volume", "update", "data", stderr=False)
    assert b"cluster volumes need a swarm" in quick("volume", "create", "--group", "x").stderr


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["network", "prune"], {"NetworksDeleted": ["a", "b"]}),
        (["network", "prune", "--filter", "until=1h", "--filter", "label!=x"], {"NetworksDeleted": None}),
        (["volume", "prune"], {"VolumesDeleted": ["a"], "SpaceReclaimed": 12345678}),
        (["volume", "prune", "-a", "--filter", "label=x"], {"VolumesDeleted": [], "SpaceReclaimed": 0}),
        (["volume", "prune", "-a", "--filter", "all=1"], {}),
        (["container", "prune", "--filter", "until=1h"], {"ContainersDeleted": [ID], "SpaceReclaimed": 5}),
    ],
    ids=str,
)
def test_prune(same: Any, daemon: FakeDaemon, words: list[str], answer: dict[str, Any]) -> None:
    daemon.answer("POST /.*/prune", answer)
    same(*words, stdin=b"n\n", stderr=False)
    same(*words, stdin=b"y\n")
    same(*words, "-f")
    filters = [json.loads(request.query.get("filters") or "{}") for request in daemon.seen("POST /.*/prune")]
    assert filters[::2] == filters[1::2]


@pytest.mark.parametrize(
    "flags",
    [
        ["-m", "512m", "--memory-swap", "-1", "--memory-reservation", "100m"], ["--cpus", "1.5", "--cpuset-cpus", "0"],
        ["--cpu-period", "1000", "--cpu-quota", "500", "-c", "7", "--cpuset-mems", "0", "--blkio-weight", "300"],
        ["--cpu-rt-period", "1000", "--cpu-rt-runtime", "500"], ["--pids-limit", "-1"], ["--restart", "on-failure:3"],
        [], ["--restart", "x:y"], ["--memory", "much"],
    ],
    ids=str,
)  # fmt: skip
def test_update(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("POST /containers/web/update", {"Warnings": ["slow down"]})
    daemon.refuse("POST /containers/gone/update", 404, "No such container: gone")
    same("update", *flags, "web", "gone", stderr=False)
    sent = [says(request.document) for request in daemon.seen("POST /containers/web/update")]
    assert len(sent) in (0, 2)
    assert sent[:1] == sent[1:]


def test_rename_pause_and_wait(same: Any, daemon: FakeDaemon) -> None:
    daemon.no_content("POST /containers/a/.*")
    daemon.refuse("POST /containers/b/.*", 409, "Container b is not running")
    same("rename", "a", "new")
    same("rename", "b", "new")
    same("rename", " ", "new")
    assert daemon.seen("POST /containers/a/rename")[-1].query["name"] == "new"
    same("pause", "a", "b")
    same("unpause", "a", "b")
    daemon.answer("POST /containers/a/wait", {"StatusCode": 3})
    same("wait", "a", "b")


@pytest.mark.parametrize("words", [[], ["80"], ["80/tcp"], ["53"], ["443/tcp"], ["x"], ["99999"]], ids=str)
def test_port(same: Any, daemon: FakeDaemon, words: list[str]) -> None:
    daemon.answer("GET /containers/web/json", {"Id": ID, "NetworkSettings": {"Ports": PORTS}})
    same("port", "web", *words)


def test_top(same: Any, daemon: FakeDaemon) -> None:
    rows = [["root", "1", "sh -c 'sleep 100000'"], ["nobody-with-a-long-name", "4242", "sleep\t1"]]
    daemon.answer("GET /containers/web/top", {"Titles": ["UID", "PID", "CMD"], "Processes": rows[:1]})
    same("top", "web")
    same("container", "top", "web", "-o", "pid,args")
    assert {request.query.get("ps_args") for request in daemon.seen("GET /containers/web/top")[2:]} == {
        "-o pid,args"
    }
    daemon.refuse("GET /containers/web/top", 409, "container web is not running")
    same("top", "web")


@pytest.mark.parametrize(
    "flags",
    [
        [], ["--no-trunc"], ["--format", "json"],
        ["--format", "table {{.Container}}\\t{{.Name}}\\t{{.ID}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}"],
        ["--format", "{{.NetIO}}|{{.BlockIO}}|{{.PIDs}}"], ["--format", "{{.Nonsense}}"],
    ],
    ids=str,
)  # fmt: skip
def test_stats(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("GET /containers/json", [{"Id": ID, "Names": ["/web"]}])
    daemon.answer("GET /containers/(web|4f1c.*)/stats", sample("web", 123_456_789))
    daemon.answer("GET /containers/old/stats", sample("old", 0, cgroup=1))
    same("stats", "--no-stream", *flags, "web", "old", stderr=False)
    same("stats", "--no-stream", *flags, stderr=False)


def test_stats_of_what_is_not_there(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /containers/web/stats", sample("web", 0))
    daemon.refuse("GET /containers/gone/stats", 404, "No such container: gone")
    same("stats", "--no-stream", "web", "gone")
    daemon.answer(
        "GET /containers/idle/stats", {"id": ID, "name": "/idle", "memory_stats": {}, "cpu_stats": {}}
    )
    same("stats", "--no-stream", "idle")


def test_events_filters_and_formats(same: Any, daemon: FakeDaemon) -> None:
    event = {"Type": "volume", "Action": "mount", "Actor": {"ID": "data", "Attributes": {"read/write": "true", "a": "b"}},
             "scope": "local", "time": 1_790_000_000, "timeNano": 1_790_000_000_123_456_789}  # fmt: skip

    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin()
        answer.chunk(json.dumps(event).encode() + b"\n")
        answer.end()

    daemon.route("GET /events", stream)
    same("events", "--until", "1", "-f", "type=volume", "-f", "event=mount", "-f", "event=unmount")
    same(
        "events",
        "--until",
        "1",
        "--format",
        "{{.Action}} {{.Actor.Attributes.a}} {{.TimeNano}} {{.ID}} {{.Status}} {{.From}}",
    )
    same("system", "events", "--until", "1", "--format", "json")
    same("events", "--format", "{{.Nonsense", stderr=False)
    same("events", "--format", "{{.Nonsense}}", stderr=False)
    same("events", "--filter", "x")


@pytest.mark.parametrize(
    "words",
    [
        ["network", "create"], ["network", "connect", "a"], ["network", "rm"], ["network", "nonsense"], ["volume", "create", "a", "b"],
        ["volume", "ls", "x"], ["volume", "ls", "-f", "x"], ["rename", "a"], ["update"], ["port"], ["port", "a", "b", "c"],
        ["top"], ["stats", "--nonsense"], ["wait"], ["pause"], ["volume", "prune", "x"], ["network", "prune", "--filter", "x"],
        ["context", "create"], ["-c", "x", "-H", "unix:///y", "ps"], ["system", "nonsense"],
    ],
    ids=str,
)  # fmt: skip
def test_misuse_has_dockers_exit_code_and_first_line(quick: Any, docker: Any, words: list[str]) -> None:
    ours, theirs = quick(*words), docker(*words)
    assert ours.returncode == theirs.returncode
    assert ours.stderr.decode().splitlines()[0] == theirs.stderr.decode().splitlines()[0].replace(
        "docker", "barque"
    )


@pytest.mark.parametrize("flags", [[], ["-v"], ["--format", "{{.Type}} {{.Size}} {{.Reclaimable}}"]], ids=str)
def test_disk_usage_of_volumes(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    sizes = ({"Size": 12_345_678, "RefCount": 2}, {"Size": 1_000, "RefCount": 0})
    volumes = [{**volume, "UsageData": usage} for volume, usage in zip(VOLUMES, sizes, strict=True)]
    daemon.answer(
        "GET /system/df",
        {"LayersSize": 0, "Images": [], "Containers": [], "Volumes": volumes, "BuildCache": []},
    )
    same("system", "df", *flags)


def test_a_structure_prints_as_one(same: Any, daemon: FakeDaemon) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    mount = {
        "Type": "bind",
        "Source": "/a",
        "Destination": "/b",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    daemon.answer(
        "GET /containers/web/json",
        {"Id": ID, "HostConfig": {"RestartPolicy": policy, "LogConfig": {"Type": "local", "Config": {"a": "b"}}},
         "Mounts": [mount], "NetworkSettings": {"Ports": PORTS}},
    )  # fmt: skip
    same("inspect", "-f", "{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}} {{.Mounts}}", "web")
    same("inspect", "-f", "{{.NetworkSettings.Ports}}", "web")
