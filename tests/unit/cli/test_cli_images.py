"""Push, search, save, load, import, prune, df and check; where docker has the command, in its words: the real client is asked, too."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import pty
import re
import socket
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, environment

ID = "sha256:" + "ab" * 32
PUSH = [
    {"status": "The push refers to repository [127.0.0.1:5001/bb]"},
    {"status": "Preparing", "progressDetail": {}, "id": "fa78de5734d7"},
    {
        "status": "Pushing",
        "progressDetail": {"current": 5, "total": 9},
        "progress": "[=>]",
        "id": "fa78de5734d7",
    },
    {"status": "Pushed", "progressDetail": {}, "id": "fa78de5734d7"},
    {"status": "1: digest: sha256:" + "c" * 64 + " size: 527"},
    {"progressDetail": {}, "aux": {"Tag": "1", "Digest": "sha256:" + "c" * 64, "Size": 527}},
]


def streams(daemon: FakeDaemon, route: str, messages: list[dict[str, Any]]) -> None:
    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin()
        for message in messages:
            answer.chunk(json.dumps(message).encode() + b"\r\n")
        answer.end()

    daemon.route(route, stream)


def same(ours: Any, theirs: Any) -> None:
    assert (ours.returncode, ours.stdout.decode(), ours.stderr.decode()) == (
        theirs.returncode,
        theirs.stdout.decode(),
        theirs.stderr.decode(),
    )


# -- rmi


@pytest.mark.parametrize("arguments", [["gone"], ["-f", "gone"], ["-f", "gone", "used"]], ids=str)
def test_removing_what_is_not_there(cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.refuse("DELETE /images/gone", 404, "No such image: gone:latest")
    daemon.refuse("DELETE /images/used", 409, "conflict: unable to remove")
    same(cli("rmi", *arguments), docker("rmi", *arguments))


# -- push, pull, search


@pytest.mark.parametrize(
    "arguments",
    [
        ["127.0.0.1:5001/bb:1"],
        ["127.0.0.1:5001/bb"],
        ["docker.io/library/bb:1"],
        ["-q", "127.0.0.1:5001/bb:1"],
        ["-q", "me/bb:1"],
        ["-qa", "bb"],
        ["-a", "127.0.0.1:5001/bb"],
        ["-qa", "127.0.0.1:5001/bb"],
        ["--platform", "linux/arm64", "127.0.0.1:5001/bb:1"],
    ],
    ids=str,
)
def test_push(cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str]) -> None:
    streams(daemon, "POST /images/.*/push", PUSH)
    theirs, ours = docker("push", *arguments), cli("push", *arguments)
    # docker also explains what --platform means to an image of many platforms
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout[-len(ours.stdout) :])
    real, mine = daemon.seen("POST /images/.*/push")
    assert {name: value for name, value in real.query.items() if value} == mine.query
    assert (mine.path, mine.headers["x-registry-auth"]) == (real.path, real.headers["x-registry-auth"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["push", "-a", "a:1"],
        ["push", "UPPER"],
        ["push", "a b"],
        ["pull", "-a", "a:1"],
        ["import", "-", "UPPER"],
    ],
    ids=str,
)
def test_names_that_are_refused(cli: Any, docker: Any, arguments: list[str]) -> None:
    same(cli(*arguments), docker(*arguments))


def test_a_failed_push(cli: Any, docker: Any, daemon: FakeDaemon) -> None:
    error = {"errorDetail": {"message": "denied: no"}, "error": "denied: no"}
    streams(daemon, "POST /images/.*/push", [*PUSH[:2], error])
    same(cli("push", "a:1"), docker("push", "a:1"))


def on_a_terminal(daemon: FakeDaemon, *arguments: str) -> str:
    """What `barque` shows on a terminal."""
    master, slave = pty.openpty()
    try:
        variables = environment(BARQUE_HOST=daemon.url, TERM="xterm", COLUMNS="100")
        done = subprocess.run([*BARQUE, *arguments], stdout=slave, stderr=slave, env=variables, check=False)
        assert done.returncode == 0
        return os.read(master, 65536).decode()
    finally:
        os.close(master)
        os.close(slave)


def test_progress_bars_of_push_save_and_load(daemon: FakeDaemon, tmp_path: Path) -> None:
    streams(daemon, "POST /images/.*/push", PUSH)
    shown = on_a_terminal(daemon, "push", "127.0.0.1:5001/bb:1")
    assert "fa78de5734d7: Pushed" in shown
    assert "━" in shown
    assert "1: digest: sha256:" in shown
    _saves(daemon)
    archive = tmp_path / "images.tar"
    assert "images.tar: Saving" in on_a_terminal(daemon, "save", "-o", str(archive), "a:1")
    loading = {"status": "Loading layer", "progressDetail": {"current": 5, "total": 9}, "id": "fa78de5734d7"}
    streams(daemon, "POST /images/load", [loading, *LOADED])
    shown = on_a_terminal(daemon, "load", "-i", str(archive))
    assert "images.tar: Sending" in shown
    assert "fa78de5734d7: Loading layer" in shown
    assert "Loaded image: a:1" in shown
    assert "quiet" not in daemon.seen("POST /images/load")[0].query


@pytest.mark.parametrize("flag", ["-a", "-qa"])
def test_pull_of_all_tags(cli: Any, docker: Any, daemon: FakeDaemon, flag: str) -> None:
    steps = [{"status": "Pulling from bb", "id": "2"}, {"status": "Digest: sha256:" + "d" * 64}]
    streams(daemon, "POST /images/create", steps)
    same(cli("pull", flag, "127.0.0.1:5001/bb"), docker("pull", flag, "127.0.0.1:5001/bb"))
    mine, real = daemon.seen("POST /images/create")
    assert mine.query == {k: v for k, v in real.query.items() if v}


FOUND = [
    {"name": "few", "description": "words\nand " + "more " * 20, "star_count": 2, "is_official": False},
    {"name": "many/stars", "description": "", "star_count": 200, "is_official": True, "is_automated": True},
]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-trunc"],
        ["--limit", "7"],
        ["--filter", "stars=3", "-f", "is-official=true"],
        ["--format", "{{.Name}}: {{.StarCount}} {{.IsOfficial}}"],
        ["--format", "table {{.Name}}\t{{.IsOfficial}}"],
        ["--format", "json"],
    ],
    ids=str,
)
def test_search(cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.answer("GET /images/search", FOUND)
    same(cli("search", *arguments, "x"), docker("search", *arguments, "x"))
    mine, real = daemon.seen("GET /images/search")
    assert _filters(mine.query) == _filters(real.query)
    assert {"limit": "0", **mine.query, "filters": ""} == {"limit": "0", **real.query, "filters": ""}


def test_what_others_wrote_does_not_steer_the_terminal(cli: Any, daemon: FakeDaemon) -> None:
    evil = "a\x1b]0;title\x07\x9b31m"
    daemon.answer(
        "GET /images/search", [{"name": evil, "description": evil, "star_count": 1, "is_official": False}]
    )
    streams(daemon, "POST /images/.*/push", [{"status": evil}, {"error": evil}])
    streams(daemon, "POST /barque/check", [{"aux": {"Findings": [{"Kind": "layer", "Problem": evil}]}}])
    for arguments in (["search", "x"], ["push", "a:1"], ["system", "check"]):
        done = cli(*arguments)
        assert b"\\x1b]0;title" in done.stdout
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", done.stdout + done.stderr)


def test_credentials_go_with_a_search(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"reg:5000": {"auth": "bWU6c2VjcmV0"}}}))
    daemon.answer("GET /images/search", [])
    cli("search", "reg:5000/x", DOCKER_CONFIG=str(tmp_path))
    cli("search", "x", DOCKER_CONFIG=str(tmp_path))
    first, second = daemon.seen("GET /images/search")
    assert "x-registry-auth" in first.headers
    assert "x-registry-auth" not in second.headers


# -- save, load, import


def _saves(daemon: FakeDaemon, *, cut: bool = False) -> None:
    def save(_request: Request, answer: Exchange) -> None:
        answer.begin("application/x-tar")
        answer.chunk(b"x" * 300_000)
        if cut:
            answer.hang_up()
        else:
            answer.end()

    daemon.route("GET /images/get", save)


def test_save(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    _saves(daemon)
    done = cli("save", "a:1", "b")
    assert (done.returncode, done.stdout) == (0, b"x" * 300_000)
    target = tmp_path / "out.tar"
    target.write_bytes(b"former")
    assert cli("save", "-o", str(target), "--platform", "linux/arm64", "a:1").returncode == 0
    assert target.read_bytes() == b"x" * 300_000
    assert target.stat().st_mode & 0o777 == 0o600
    first, second = daemon.seen("GET /images/get")
    assert "names=a%3A1&names=b" in first.target
    assert json.loads(second.query["platform"]) == {"os": "linux", "architecture": "arm64"}


def test_a_save_that_is_cut_leaves_what_was_there(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    _saves(daemon, cut=True)
    target = tmp_path / "out.tar"
    target.write_bytes(b"former")
    done = cli("image", "save", "-o", str(target), "a:1")
    assert (done.returncode, done.stderr) == (1, b"unexpected EOF\n")
    assert target.read_bytes() == b"former"
    assert sorted(os.listdir(tmp_path)) == ["d.sock", "out.tar"]


@pytest.mark.parametrize("path", ["/nonexistent/x.tar", "/tmp", "/dev/full"])
def test_where_nothing_can_be_saved(cli: Any, docker: Any, daemon: FakeDaemon, path: str) -> None:
    same(cli("save", "-o", path, "a"), docker("save", "-o", path, "a"))
    assert not daemon.seen("GET /images/get")


def test_save_of_what_is_not_there(cli: Any, docker: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.refuse("GET /images/get", 404, "No such image: a")
    same(cli("save", "-o", str(tmp_path / "x"), "a"), docker("save", "-o", str(tmp_path / "x"), "a"))
    assert sorted(set(os.listdir(tmp_path)) - {"docker"}) == ["d.sock"]


LOADED = [{"stream": "Loaded image: a:1\n"}, {"stream": f"Loaded image ID: {ID}\n"}]


@pytest.mark.parametrize("arguments", [[], ["-q"], ["--platform", "linux/amd64"]], ids=str)
def test_load(cli: Any, docker: Any, daemon: FakeDaemon, tmp_path: Path, arguments: list[str]) -> None:
    archive = tmp_path / "in.tar"
    archive.write_bytes(b"tar" * 200_000)
    streams(daemon, "POST /images/load", LOADED)
    same(cli("load", *arguments, "-i", str(archive)), docker("load", *arguments, "-i", str(archive)))
    same(cli("load", *arguments, stdin=b"in"), docker("load", *arguments, stdin=b"in"))
    requests = daemon.seen("POST /images/load")
    assert [request.body for request in requests] == [archive.read_bytes()] * 2 + [b"in"] * 2
    assert {request.headers["content-type"] for request in requests} == {"application/x-tar"}
    assert {request.query["quiet"] for request in requests} == {"1"}
    assert len({request.query.get("platform") for request in requests}) == 1


@pytest.mark.parametrize("command", [["load", "-i"], ["import"]], ids=str)
def test_a_file_that_is_not_there(cli: Any, docker: Any, command: list[str]) -> None:
    same(cli(*command, "/nope.tar"), docker(*command, "/nope.tar"))


def test_an_answer_before_the_end_of_the_upload_is_heard(
    cli: Any, daemon: FakeDaemon, tmp_path: Path
) -> None:
    """A daemon that finds the archive wrong says so, and reads no further."""
    archive = tmp_path / "large.tar"
    with archive.open("wb") as file:
        file.truncate(64 << 20)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            Exchange(connection, b"").error(400, "this is no archive")
            connection.shutdown(socket.SHUT_RDWR)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20)
        listener.bind(str(tmp_path / "early.sock"))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        done = cli("-H", f"unix://{tmp_path}/early.sock", "load", "-i", str(archive))
        thread.join()
    assert done.returncode == 1
    assert b"this is no archive" in done.stderr


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["FILE", "imp:1"],
        ["FILE"],
        ["-"],
        [
            "-c",
            'CMD ["sh"]',
            "--change",
            "ENV A=b",
            "-m",
            "a message",
            "--platform",
            "linux/ARM64",
            "FILE",
            "imp",
        ],
    ],
    ids=str,
)
def test_import(cli: Any, docker: Any, daemon: FakeDaemon, tmp_path: Path, arguments: list[str]) -> None:
    archive = tmp_path / "in.tar"
    archive.write_bytes(_tar())
    streams(daemon, "POST /images/create", [{"status": ID}])
    given = [str(archive) if word == "FILE" else word for word in arguments]
    stdin = _tar() if "-" in arguments else b""
    same(cli("import", *given, stdin=stdin), docker("import", *given, stdin=stdin))
    mine, real = daemon.seen("POST /images/create")
    assert mine.body == real.body == _tar()
    assert mine.queries == {name: values for name, values in real.queries.items() if any(values)}


def test_import_of_a_url_is_fetched_by_the_client(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(_tar())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

    streams(daemon, "POST /images/create", [{"status": ID}])
    with http.server.HTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        done = cli("import", f"{base}/x.tar", "imp:1", no_proxy="*")
        absent = cli("import", f"{base}/nope.tar", "imp:1", no_proxy="*")
        server.shutdown()
        thread.join()
    assert (done.returncode, done.stdout) == (0, f"{ID}\n".encode())
    (request,) = daemon.seen("POST /images/create")
    assert (request.body, request.query["fromSrc"]) == (_tar(), "-")
    assert absent.returncode == 1
    assert b"not found" in absent.stderr


# -- prune


def _prunes(daemon: FakeDaemon) -> None:
    removed = [{"Untagged": "a:1"}, {"Deleted": ID}]
    daemon.answer("POST /images/prune", {"ImagesDeleted": removed, "SpaceReclaimed": 1984247})
    daemon.answer("POST /containers/prune", {"ContainersDeleted": ["c" * 64], "SpaceReclaimed": 100000})
    daemon.answer("POST /networks/prune", {"NetworksDeleted": ["front"]})
    daemon.answer("POST /volumes/prune", {"VolumesDeleted": ["v"], "SpaceReclaimed": 5})
    daemon.answer("POST /build/prune", {"CachesDeleted": ["x"], "SpaceReclaimed": 7})


@pytest.mark.parametrize(
    "arguments",
    [
        ["image", "prune", "-f"],
        ["image", "prune", "-af", "--filter", "until=1h", "--filter", "label!=k"],
        ["container", "prune", "-f", "--filter", "label=x"],
        ["image", "prune"],
        ["image", "prune", "-a"],
        ["container", "prune"],
        ["system", "prune"],
        ["system", "prune", "-a", "--volumes", "--filter", "label=b", "--filter", "label=a"],
        ["system", "prune", "-f"],
        ["system", "prune", "-af", "--volumes"],
        ["system", "prune", "-f", "--volumes", "--filter", "until=1h"],
    ],
    ids=str,
)
@pytest.mark.parametrize("answer", [b"y\n", b"n\n", b""])
def test_prune(cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str], answer: bytes) -> None:
    _prunes(daemon)
    theirs = docker(*arguments, stdin=answer)
    asked = [(request.path, request.query) for request in daemon.seen("POST .*")]
    daemon.requests.clear()
    ours = cli(*arguments, stdin=answer)
    assert (ours.returncode, ours.stdout.decode(), ours.stderr.decode()) == (
        theirs.returncode,
        theirs.stdout.decode(),
        theirs.stderr.decode(),
    )
    mine = [(request.path, request.query) for request in daemon.seen("POST .*")]
    assert [path for path, _ in mine] == [path for path, _ in asked]
    for (path, query), (_, wanted) in zip(mine, asked, strict=True):
        if path != "/build/prune":
            assert _filters(query) == _filters(wanted), path


def _filters(query: dict[str, str]) -> Any:
    return json.loads(query.get("filters") or "{}")


def test_nothing_to_prune(cli: Any, docker: Any, daemon: FakeDaemon) -> None:
    for kind, field in (("images", "ImagesDeleted"), ("containers", "ContainersDeleted")):
        daemon.answer(f"POST /{kind}/prune", {field: None, "SpaceReclaimed": 0})
        same(cli(kind[:-1], "prune", "-f"), docker(kind[:-1], "prune", "-f"))


# -- df, check

USAGE = {
    "LayersSize": 1984247,
    "Images": [
        {
            "Containers": 1, "Created": 1795323539, "Id": ID, "Labels": None, "ParentId": "", "RepoDigests": None,
            "RepoTags": ["imp:1", "other:2"], "SharedSize": 3, "Size": 1984244,
        },
        {
            "Containers": 0, "Created": 1795323539, "Id": "sha256:" + "cd" * 32, "Labels": None, "ParentId": "",
            "RepoDigests": ["d@sha256:" + "1" * 64], "RepoTags": [], "SharedSize": 0, "Size": 0,
        },
        {
            "Containers": 0, "Created": 1795323539, "Id": "sha256:" + "ef" * 32, "Labels": None, "ParentId": "",
            "RepoDigests": [], "RepoTags": [], "SharedSize": 0, "Size": 70,
        },
    ],
    "Containers": [
        {
            "Id": "8c" * 32, "Names": ["/c1"], "Image": "imp:1", "ImageID": ID, "Command": "echo a",
            "Created": 1795323539, "Ports": [], "SizeRw": 100000, "SizeRootFs": 2084244, "Labels": {"a": "b"},
            "State": state, "Status": "Created", "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
        }
        for state in ("exited", "running")
    ]
    + [
        {
            "Id": "9d" * 32, "Names": ["/c2"], "Image": ID, "ImageID": ID, "Command": "echo b", "Created": 1795323539,
            "Ports": [], "State": "exited", "Status": "Exited (0)", "HostConfig": {}, "NetworkSettings": {}, "Mounts": [],
        }
    ],
    "Volumes": [],
    "BuildCache": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-v"],
        ["--format", "json"],
        ["--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"],
        ["--format", "table {{.Type}}\t{{.Size}}"],
        ["-v", "--format", "{{range .Images}}{{.ID}} {{.UniqueSize}}{{end}}"],
    ],
    ids=str,
)
@pytest.mark.parametrize("empty", [False, True])
def test_system_df(cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str], empty: bool) -> None:
    nothing = {"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": []}
    daemon.answer("GET /system/df", nothing if empty else USAGE)
    theirs, ours = docker("system", "df", *arguments), cli("system", "df", *arguments)
    assert (ours.returncode, ours.stdout.decode()) == (theirs.returncode, theirs.stdout.decode())


def test_system_df_in_detail_as_json(cli: Any, docker: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /system/df", USAGE)
    theirs, ours = (run("system", "df", "-v", "--format", "{{json .}}") for run in (docker, cli))
    real, mine = json.loads(theirs.stdout), json.loads(ours.stdout)
    assert mine == real


def _item(
    kind: str, owner: str, what: str, size: int, shared: int = 1, *, free: bool = False
) -> dict[str, Any]:
    return {"Kind": kind, "Owner": owner, "What": what, "Bytes": size, "Shared": shared, "Reclaimable": free}


def test_system_df_of_everything(cli: Any, daemon: FakeDaemon) -> None:
    items = [
        _item("layer", ID, ID, 3000, 2),
        _item("container", "8c" * 32, "files", 5000),
        _item("cache", "deb", "packages", 2000, 0, free=True),
    ]
    daemon.answer(
        "GET /barque/df", {"Root": "/var/lib/barque", "Total": 10000, "LayersSize": 1, "Items": items}
    )
    done = cli("system", "df", "--all")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert [re.split(r"\s{3,}", line) for line in lines[:4]] == [
        ["KIND", "OWNER", "WHAT", "SIZE", "SHARED", "RECLAIMABLE"],
        ["container", "8c8c8c8c8c8c", "files", "5kB", "1", "no"],
        ["layer", "abababababab", "sha256:abababababab", "3kB", "2", "no"],
        ["cache", "deb", "packages", "2kB", "0", "yes"],
    ]
    assert lines[-1] == "Total: 10kB (10000 bytes) below /var/lib/barque, as du(1) counts; 2kB reclaimable"
    assert ID in cli("system", "df", "--all", "--no-trunc").stdout.decode()
    assert cli("system", "df", "--all", "--format", "{{.Owner}} {{.Bytes}}").stdout.startswith(
        b"8c8c8c8c8c8c 5000\n"
    )
    daemon.answer("GET /barque/df", {"Root": "/r", "Total": 10001, "LayersSize": 1, "Items": items})
    done = cli("system", "df", "-a")
    assert (done.returncode, done.stderr) == (1, b"1 bytes of 10001 have no owner, or more than one\n")
    assert cli("system", "df", "-a", "-v").returncode == 1


def test_system_check(cli: Any, daemon: FakeDaemon) -> None:
    streams(daemon, "POST /barque/check", [{"status": "Verifying", "id": "x"}, {"aux": {"Findings": []}}])
    done = cli("system", "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"The store is whole.\n", b"")
    finding = {
        "Kind": "blob", "Subject": ID, "Problem": "wrong digest", "Images": [ID, "x"], "Repaired": False,
        "Action": "marked",
    }  # fmt: skip
    repaired = {**finding, "Kind": "layer", "Repaired": True, "Action": "unpacked anew"}
    streams(daemon, "POST /barque/check", [{"aux": {"Findings": [finding, repaired]}}])
    done = cli("system", "check")
    assert done.returncode == 1
    assert [re.split(r"\s{3,}", line) for line in done.stdout.decode().splitlines()] == [
        ["KIND", "SUBJECT", "PROBLEM", "IMAGES", "REPAIRED", "ACTION"],
        ["blob", ID[:19], "wrong digest", f"{ID[:19]},x", "no", "marked"],
        ["layer", ID[:19], "wrong digest", f"{ID[:19]},x", "yes", "unpacked anew"],
    ]
    streams(daemon, "POST /barque/check", [{"aux": {"Findings": [repaired]}}])
    assert (
        cli("system", "check", "--repair", "--no-trunc", "--format", "{{.Subject}}").stdout
        == f"{ID}\n".encode()
    )
    assert daemon.seen("POST /barque/check")[-1].query == {"repair": "1"}
    streams(daemon, "POST /barque/check", [{"error": "the disk left"}])
    assert cli("system", "check").stderr == b"the disk left\n"


def test_platforms_of_stored_images(cli: Any, docker: Any, daemon: FakeDaemon) -> None:
    daemon.answer("GET /images/a/history", [])
    daemon.answer("GET /images/a/json", {"Id": ID})
    for command in (["history", "--platform"], ["image", "inspect", "--platform"]):
        daemon.requests.clear()
        same(cli(*command, "linux/arm/v7", "a"), docker(*command, "linux/arm/v7", "a"))
        mine, real = daemon.seen("GET /images/a/.*")
        assert json.loads(mine.query["platform"]) == json.loads(real.query["platform"])
    assert cli("history", "--platform", "a b", "a").returncode == 1
