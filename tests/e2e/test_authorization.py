"""Authorization drivers are asked about every request, see all of its body, and fail closed (row S35)."""

import base64
import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, busybox_archive

from barque.profiles.loading import locate
from barque.testing import need
from barque.testing.daemon import Daemon, Lab

pytestmark = [pytest.mark.root, pytest.mark.row("S35")]

RECORDER = """
import base64, json, os
from dataclasses import dataclass
from barque.spi import Probe, hookimpl
from barque.spi.errors import PermissionDenied

class Recorder:
    @dataclass(frozen=True)
    class Config:
        file: str = ""
    capabilities = frozenset()
    def __init__(self, name, config):
        self.name, self.file = name, config.file
    @hookimpl
    def authorization_probe(self):
        return Probe()
    @hookimpl
    def authorization_check(self, request):
        body = None if request.body is None else base64.b64encode(request.body).decode()
        line = [request.user, request.method, request.target, request.path, dict(request.headers), body]
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\\n")
        if b"forbidden" in (request.body or b"") or "forbidden" in request.path:
            raise PermissionDenied("not that")
        if "broken" in request.path:
            raise RuntimeError("a defect")
"""


@pytest.fixture(scope="module")
def guarded():
    """A daemon with the recording driver; `guarded.seen()` is what it was asked since the last look."""
    for tool in ("docker", "nsenter", "ip"):
        need.tool(tool)
    base = Path(tempfile.mkdtemp(prefix="bq-au-", dir="/tmp"))
    plugins = base / "plugins"
    info = plugins / "recorder-1.0.dist-info"
    info.mkdir(parents=True)
    (plugins / "recorder_plugin.py").write_text(RECORDER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[barque.authorization.v1]\nrecorder = recorder_plugin:Recorder\n")
    record = base / "asked"
    record.write_text("")
    profile = base / "guarded.toml"
    name = os.environ.get("BARQUE_TEST_PROFILE", "default")
    profile.write_text(f'{locate(name).path.read_text()}\n[authorization.recorder]\nfile = "{record}"\n')
    lab = Lab()
    daemon = Daemon(base, lab, str(profile), {"PYTHONPATH": str(plugins)})

    def seen():
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        record.write_text("")
        return lines

    daemon.seen = seen
    try:
        daemon.start()
        archive = base / "bb.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-i", str(archive)).returncode == 0
        yield daemon
    finally:
        daemon.close()
        lab.close()
        shutil.rmtree(base, ignore_errors=True)


def raw(daemon, *parts, wait=0.0):
    """Send bytes as they are; the whole answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(daemon.socket))
        for part in parts:
            client.sendall(part)
            time.sleep(wait)
        return b"".join(iter(lambda: client.recv(65536), b""))


def head(method, target, *lines):
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]
    ).encode()


CREATE = json.dumps({"Image": IMAGE, "Cmd": ["true"], "Labels": {"a": "forbidden"}}).encode()
JSON = "Content-Type: application/json"


def body_of(asked):
    return None if asked[5] is None else base64.b64decode(asked[5])


def containers(daemon):
    return daemon.json("GET", "/containers/json?all=1")


def test_it_is_told_who_asks_what(guarded):
    guarded.seen()
    assert guarded.request("GET", "/v1.51/containers/json?all=1")[0] == 200
    ((user, method, target, path, headers, body),) = guarded.seen()
    assert (user, method, body) == (f"uid:{os.getuid()}", "GET", "")
    assert (target, path) == ("/v1.51/containers/json?all=1", "/containers/json")
    assert headers["host"] == "localhost"


def test_a_denial_is_told_in_dockers_words_and_nothing_was_done(guarded):
    status, answer = guarded.request("POST", "/containers/create?name=no", json.loads(CREATE))
    assert status == 403
    assert json.loads(answer)["message"] == "authorization denied by plugin recorder: not that"
    assert containers(guarded) == []


def test_a_zero_length_body_is_seen_as_what_the_operation_gets(guarded):
    """CVE-2024-41110: Content-Length 0 and bytes behind it. They are the next request, for which it is asked again."""
    guarded.seen()
    smuggled = head("GET", "/containers/forbidden/json")
    first = head("POST", "/containers/create", "Content-Length: 0", JSON).replace(
        b"Connection: close\r\n", b""
    )
    answers = raw(guarded, first + smuggled)
    assert [asked[3] for asked in guarded.seen()] == ["/containers/create", "/containers/forbidden/json"]
    assert answers.startswith(b"HTTP/1.1 400 ")  # no image named: the operation got the same empty body
    assert b"authorization denied by plugin recorder" in answers
    assert containers(guarded) == []


def test_a_chunked_body_is_seen_whole(guarded):
    guarded.seen()
    pieces = [CREATE[:7], CREATE[7:50], CREATE[50:]]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    answer = raw(
        guarded,
        head("POST", "/containers/create", "Transfer-Encoding: chunked", JSON),
        *chunks,
        b"0\r\n\r\n",
        wait=0.02,
    )
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert [body_of(asked) for asked in guarded.seen()] == [CREATE]
    assert containers(guarded) == []


def test_a_body_too_large_to_look_at_is_refused(guarded):
    guarded.seen()
    size = 8 << 20
    answer = raw(guarded, head("POST", "/containers/create", f"Content-Length: {size}", JSON))
    assert answer.startswith(b"HTTP/1.1 413 ")
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(guarded.socket))
        client.sendall(head("POST", "/containers/create", "Transfer-Encoding: chunked", JSON))
        try:
            for _ in range(6):
                client.sendall(chunk)
        except OSError:
            pass  # it did not wait for the rest
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert guarded.seen() == []
    assert containers(guarded) == []


def test_a_body_where_none_belongs_is_seen_too(guarded):
    guarded.seen()
    answer = raw(guarded, head("GET", "/info", "Content-Length: 9", JSON), b"forbidden")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert [body_of(asked) for asked in guarded.seen()] == [b"forbidden"]


@pytest.mark.parametrize(
    "path",
    [
        "/containers/%66orbidden/json",
        "/v1.51/containers/%66orbidden/json",
        "/v1.30/containers/forbidden/json",
    ],
)
def test_a_path_in_disguise_is_shown_as_what_it_is(guarded, path):
    assert raw(guarded, head("GET", path)).startswith(b"HTTP/1.1 403 ")


def test_a_driver_that_fails_denies(guarded):
    status, answer = guarded.request("GET", "/containers/broken/json")
    assert status == 403
    assert "which failed" in json.loads(answer)["message"]


def test_streams_are_announced_without_their_content(guarded):
    made = guarded.docker("create", "--name", "files", "--network", "none", IMAGE, "true")
    assert made.returncode == 0, made.stderr
    try:
        guarded.seen()
        assert guarded.docker("cp", "-", "files:/tmp", stdin=b"\0" * 1024).returncode == 0
        puts = [asked for asked in guarded.seen() if asked[1] == "PUT"]
        assert [body_of(asked) for asked in puts] == [None]
    finally:
        guarded.docker("rm", "-f", "files")


def test_containers_run_and_attach_as_ever(guarded):
    done = guarded.docker("run", "--rm", "-i", "--network", "none", IMAGE, "cat", stdin=b"hello")
    assert (done.returncode, done.stdout) == (0, "hello")
    assert guarded.docker("run", "--rm", "--label", "x=forbidden", IMAGE, "true").returncode == 125


def test_secrets_are_not_shown(guarded):
    guarded.seen()
    raw(
        guarded,
        head(
            "POST", "/images/create?fromImage=127.0.0.1:1/x", "Content-Length: 0", "X-Registry-Auth: c2VjcmV0"
        ),
    )
    (asked,) = guarded.seen()
    assert "c2VjcmV0" not in json.dumps(asked)
