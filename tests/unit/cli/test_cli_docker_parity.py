"""The same answers of a daemon give, byte for byte, the same standard output as the real docker client, and its exit code."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request

NOW = int(time.time())
ID = "4f1c" * 16
IMAGE_ID = "sha256:" + "ab12" * 16

CONTAINERS = [
    {
        "Id": ID,
        "Names": ["/web", "/other/web"],
        "Image": "registry.example.com:5000/team/app:1.2@sha256:" + "0" * 64,
        "ImageID": IMAGE_ID,
        "Command": "/docker-entrypoint.sh nginx -g 'daemon off;'",
        "Created": NOW - 3700,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 7000, "PublicPort": 7000, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 7001, "PublicPort": 7001, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"PrivatePort": 444, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
            {"PrivatePort": 9000, "Type": "tcp"},
        ],
        "SizeRw": 12288,
        "SizeRootFs": 133_251_532,
        "Labels": {"com.example.role-of": "front", "b": "<&>"},
        "State": "running",
        "Status": "Up About an hour",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"front": {}}},
        "Mounts": [
            {
                "Type": "volume",
                "Name": "a-long-volume-name",
                "Driver": "local",
                "Source": "",
                "Destination": "/d",
            },
            {"Type": "bind", "Source": "/srv/site", "Destination": "/site"},
        ],
    },
    {
        "Id": "7" * 64,
        "Names": ["/große"],
        "Image": IMAGE_ID[7:19],
        "ImageID": IMAGE_ID,
        "Command": "sh",
        "Created": NOW - 40 * 86400,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (137) 3 weeks ago",
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Networks": {"none": {}}},
        "Mounts": [],
    },
]
IMAGES = [
    {
        "Id": IMAGE_ID,
        "RepoTags": ["alpine:3", "alpine:latest"],
        "RepoDigests": ["alpine@sha256:" + "c" * 64],
        "Created": NOW - 90000,
        "Size": 7_797_760,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
        "ParentId": "",
    },
    {
        "Id": "sha256:" + "9" * 64,
        "RepoTags": [],
        "RepoDigests": ["registry.example.com:5000/x@sha256:" + "d" * 64],
        "Created": NOW - 5 * 3600,
        "Size": 1_234_567_890,
        "SharedSize": 1000,
        "Containers": 2,
        "Labels": {},
        "ParentId": "",
    },
    {
        "Id": "sha256:" + "8" * 64,
        "RepoTags": None,
        "RepoDigests": None,
        "Created": NOW - 9_000_000,
        "Size": 0,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": {},
        "ParentId": "",
    },
]
INSPECTED = {
    "Id": ID,
    "Created": "2026-11-21T10:00:00.123456789Z",
    "Path": "sleep",
    "Args": ["10", "<a> & ü"],
    "State": {
        "Status": "running",
        "Running": True,
        "Pid": 4242,
        "ExitCode": 0,
        "StartedAt": "2026-11-21T10:00:01Z",
    },
    "Name": "/web",
    "RestartCount": 0,
    "Config": {
        "Env": None,
        "Cmd": ["sleep", "10"],
        "Labels": {"a": "1", "b.c": "2"},
        "Tty": False,
        "Volumes": None,
    },
    "HostConfig": {"Binds": None, "Memory": 0, "NanoCpus": 1500000000, "PortBindings": {}, "PidsLimit": None},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
        "Networks": {"bridge": {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1"}},
    },
    "Mounts": [],
    "Empty": {},
}
NETWORKS = [
    {"Name": "front", "Id": "1" * 64, "Created": "2026-11-21T10:00:00.5+01:00", "Scope": "local", "Driver": "bridge",
     "EnableIPv4": True, "EnableIPv6": False, "Internal": True, "Labels": {"x": "y"}},
    {"Name": "bridge", "Id": "2" * 64, "Created": "2026-11-21T10:00:00Z", "Scope": "local", "Driver": "bridge",
     "EnableIPv4": True, "EnableIPv6": False, "Internal": False, "Labels": {}},
]  # fmt: skip
HISTORY = [
    {"Id": IMAGE_ID, "Created": NOW - 5000, "CreatedBy": "/bin/sh -c #(nop)  CMD [\"sh\"]\twith a tab and more of it",
     "Tags": ["a:b"], "Size": 0, "Comment": ""},
    {"Id": "<missing>", "Created": NOW - 500000, "CreatedBy": "ADD file", "Tags": None, "Size": 4_321_000, "Comment": "c"},
]  # fmt: skip
VERSION = {
    "Platform": {"Name": "Barque"},
    "Components": [{"Name": "Engine", "Version": "0.1.0", "Details": {"ApiVersion": "1.50"}}],
    "Version": "0.1.0",
    "ApiVersion": "1.50",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
    "KernelVersion": "6.18",
}
EVENTS = [
    {"Type": "container", "Action": "start", "Actor": {"ID": ID, "Attributes": {"image": "alpine", "name": "web"}},
     "scope": "local", "time": 1_790_000_000, "timeNano": 1_790_000_000_123_456_789},
    {"Type": "network", "Action": "connect", "Actor": {"ID": "n", "Attributes": {}}, "scope": "local",
     "time": 1_790_000_001, "timeNano": 1_790_000_001_000_000_000},
]  # fmt: skip


@pytest.fixture
def same(cli: Any, docker: Any) -> Callable[..., None]:
    def compare(*arguments: str) -> None:
        theirs, ours = docker(*arguments), cli(*arguments)
        assert ours.stdout.decode() == theirs.stdout.decode()
        assert ours.returncode == theirs.returncode, ours.stderr

    return compare


@pytest.mark.parametrize(
    "flags",
    [
        [], ["-a"], ["-q"], ["-s"], ["--no-trunc"], ["-qa", "--no-trunc"], ["-n", "2"], ["-l"],
        ["--format", "json"], ["--format", "{{json .}}"], ["--format", "table"],
        ["--format", "{{.ID}} {{.Names}} {{.Ports}} {{.RunningFor}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}}"],
        ["--format", "{{.Labels}}|{{.Label \"b\"}}|{{.Label \"none\"}}|{{.CreatedAt}}|{{.Size}}|{{.State}}|{{.Platform}}"],
        ["--format", "table {{.Names}}\\t{{.Status}}\\t{{.Label \"com.example.role-of\"}}\\t{{.Size}}"],
        ["--format", "table {{.ID}}\t{{lower .Names}}\t{{json .State}}\t{{truncate .Image 5}}"],
        ["--format", "{{if eq .State \"running\"}}{{.Names}} is up{{else}}{{.Names | printf \"%-9s|\"}}{{end}}"],
        ["--format", "{{range $i, $p := split .Ports \", \"}}{{$i}}:{{$p}};{{end}}{{println}}{{len .Names}}"],
        ["--no-trunc", "--format", "{{.Command}} {{.Image}} {{.Mounts}}"],
        ["--filter", "status=running", "--filter", "label=a=b", "--filter", "status=exited", "-q"],
        ["--format", "{{.Nonsense}}"], ["--format", "{{.ID"],
    ],
    ids=str,
)  # fmt: skip
def test_ps(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("GET /containers/json", CONTAINERS)
    same("ps", *flags)
    requests = daemon.seen("GET /containers/json")
    if len(requests) == 1:
        return  # Docker does not ask when the template is wrong.
    theirs, ours = (json.loads(request.query.get("filters") or "{}") for request in requests)
    assert theirs == ours
    assert len({request.query.get("size", "0") for request in requests}) <= 1


def test_empty_lists(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /(containers|images)/json", [])
    daemon.answer("GET /networks", [])
    for command in (["ps"], ["ps", "-q"], ["images"], ["network", "ls"], ["ps", "--format", "{{.ID}}"]):
        same(*command)


@pytest.mark.parametrize(
    "flags",
    [
        [], ["-q"], ["--no-trunc"], ["--digests"], ["-a"], ["--format", "json"], ["--format", "table"],
        ["--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedSince}} {{.CreatedAt}}"],
        ["--format", "table {{.Repository}}\\t{{.Digest}}\\t{{.Containers}}"],
        ["--format", "{{.SharedSize}} {{.UniqueSize}} {{.Containers}}"], ["-q", "--no-trunc"],
    ],
    ids=str,
)  # fmt: skip
def test_images(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    # One repository an image: docker's order of several is a Go map's.
    daemon.answer("GET /images/json", IMAGES)
    same("images", *flags)


@pytest.mark.parametrize(
    "template",
    [
        "", "json", "{{.State.Status}}", "{{.Id}} {{.Name}}", "{{.ID}}", "{{json .Mounts}}", "{{json .State.StartedAt}}",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "{{index .Config.Labels \"a\"}}",
        "{{index .Config.Labels \"missing\"}}|", "{{index .Config.Labels \"b.c\"}}", "{{json .Config.Labels}}",
        "{{len .Config.Cmd}} {{.Config.Cmd}} {{join .Config.Cmd \",\"}} {{.Config.Labels}}",
        "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
        "{{range $p, $b := .NetworkSettings.Ports}}{{$p}} -> {{if $b}}{{(index $b 0).HostPort}}{{else}}none{{end}};{{end}}",
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCPUs}} {{.HostConfig.Binds}} {{.Config.Env}} {{.HostConfig.PidsLimit}}",
        "{{with .State}}{{.Pid}}{{end}}{{/* nothing */}}{{- \" x\" -}}  ", "{{not .State.Running}} {{and .Name .Path}}",
        "{{printf \"%s %d %v %q %05d|%-6s|\" .Name .State.Pid .State.Running .Path .State.Pid .Path}}",
        "{{eq .State.Pid 4242}} {{ne .Path \"sleep\"}} {{lt .State.Pid 5000}} {{or .Config.Env \"none\"}}",
        "{{$x := .State.Pid}}{{$x}} {{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}",
        "{{slice .Id 0 12}} {{title .Path}} {{upper .Path}} {{pad .Path 1 2}}| {{html \"<a>\"}} {{println .Path}}",
        "{{range .Args}}{{.}}{{else}}none{{end}} {{range .Mounts}}{{.}}{{else}}none{{end}}",
        "{{range .Config.Cmd}}{{if eq . \"10\"}}{{break}}{{end}}{{.}}{{end}}", "{{.Missing}}", "{{.State.Missing}}", "{{nope}}",
    ],
)  # fmt: skip
def test_inspect(same: Any, daemon: FakeDaemon, template: str) -> None:
    daemon.answer(f"GET /containers/{ID[:12]}/json", INSPECTED)
    same("inspect", *(["-f", template] if template else []), ID[:12])


def test_inspect_of_several_types_and_missing_ones(same: Any, daemon: FakeDaemon) -> None:
    daemon.refuse("GET /.*", 404, "no such thing")
    daemon.answer("GET /containers/web/json", INSPECTED)
    daemon.answer(
        "GET /images/library/alpine:3/json", {"Id": IMAGE_ID, "RepoTags": ["alpine:3"], "Config": {}}
    )
    daemon.answer("GET /networks/front", NETWORKS[0])
    for arguments in (
        ["web", "library/alpine:3", "front"],
        ["web", "gone"],
        ["gone"],
        ["-f", "{{.Id}}", "gone", "web"],
    ):
        same("inspect", *arguments)
    same("image", "inspect", "library/alpine:3")
    same("container", "inspect", "-f", "{{.Name}}", "web", "gone")
    same("network", "inspect", "front")


@pytest.mark.parametrize(
    "flags",
    [[], ["-q"], ["--no-trunc"], ["--format", "json"], ["--format", "table {{.Name}}\\t{{.CreatedAt}}"]],
)
def test_networks(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("GET /networks", NETWORKS)
    same("network", "ls", *flags)


@pytest.mark.parametrize("flags", [[], ["-q"], ["--no-trunc"], ["--human=false"], ["--format", "json"]])
def test_history(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    daemon.answer("GET /images/alpine/history", HISTORY)
    same("history", *flags, "alpine")


def test_version_and_info_formats(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /version", VERSION)
    daemon.answer("GET /info", {"ServerVersion": "0.1.0", "NCPU": 2, "DefaultRuntime": "native"})
    same("version", "--format", "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}} {{.Server.APIVersion}}")
    same("info", "--format", "{{.ServerVersion}} {{.NCPU}} {{.DefaultRuntime}}")


def test_events(same: Any, daemon: FakeDaemon) -> None:
    def stream(request: Request, answer: Exchange) -> None:
        answer.begin()
        for event in EVENTS:
            answer.chunk(json.dumps(event).encode() + b"\n")
        answer.end()

    daemon.route("GET /events", stream)
    same("events", "--until", "1790000002")
    same(
        "events",
        "--since",
        "10m",
        "--filter",
        "type=container",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.ID}}",
    )
    theirs, ours = daemon.seen("GET /events")[2:]
    assert ours.query["filters"] == theirs.query["filters"]
    assert abs(float(ours.query["since"]) - float(theirs.query["since"])) < 30


@pytest.mark.parametrize(
    "flags",
    [[], ["-f"], ["-t", "--details", "-n", "5"], ["--since", "2026-11-21T10:00:00", "--until", "2026-11-21"]],
    ids=str,
)
def test_logs(same: Any, daemon: FakeDaemon, flags: list[str]) -> None:
    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin("application/vnd.docker.multiplexed-stream")
        frames = b"".join(struct.pack(">BxxxI", n % 2 + 1, 7) + b"line %d\n" % (n % 10) for n in range(1000))
        for start in range(0, len(frames), 1013):
            answer.chunk(frames[start : start + 1013])
        answer.end()

    daemon.answer("GET /containers/web/json", {**INSPECTED, "Config": {"Tty": False}})
    daemon.route("GET /containers/.*/logs", stream)
    same("logs", *flags, "web")
    theirs, ours = daemon.seen("GET /containers/.*/logs")
    names = ("stdout", "stderr", "follow", "timestamps", "details", "tail", "since", "until")
    assert [ours.query.get(n) for n in names] == [theirs.query.get(n) for n in names]


def test_logs_of_a_terminal_pass_unchanged(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /containers/web/json", {**INSPECTED, "Config": {"Tty": True}})
    daemon.route(
        "GET /containers/.*/logs",
        lambda _r, a: a.send(200, b"\x01\x00raw\r\n\x1b[m", "application/vnd.docker.raw-stream"),
    )
    same("logs", "web")


def test_results_of_removals(same: Any, daemon: FakeDaemon) -> None:
    daemon.answer("DELETE /images/alpine:3", [{"Untagged": "alpine:3"}, {"Deleted": IMAGE_ID}])
    daemon.refuse("DELETE /images/gone", 404, "No such image: gone")
    same("rmi", "alpine:3", "gone")
    daemon.no_content("DELETE /containers/a")
    daemon.refuse("DELETE /containers/b", 409, "cannot remove container")
    same("rm", "-f", "a", "b")
    assert daemon.seen("DELETE /containers/a")[-1].query["force"] == "1"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["run"], ["rm"], ["tag", "a"], ["ps", "extra"], ["pull"], ["logs", "a", "b"], ["exec", "x"],
        ["ps", "--nonsense"], ["ps", "-Z"], ["ps", "-n", "x"], ["ps", "-f", "x"], ["--nonsense", "ps"], ["run", "-e"],
        ["container", "nonsense"],
    ],
    ids=str,
)  # fmt: skip
def test_misuse_has_dockers_exit_code_and_first_line(cli: Any, docker: Any, words: list[str]) -> None:
    ours, theirs = cli(*words), docker(*words)
    assert ours.returncode == theirs.returncode
    first = theirs.stderr.decode().splitlines()[0].replace("docker", "barque")
    assert ours.stderr.decode().splitlines()[0] == first
