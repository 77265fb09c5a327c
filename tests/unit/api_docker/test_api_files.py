"""Archives in and out, export, changes, commit over HTTP."""

import base64
import json
import stat
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from api_fake_engine import IMAGE_ID, make_image

from barque.spi.content import PathStat
from barque.spi.errors import Internal, NotFound
from barque.spi.storage import Change, ChangeKind
from barque_api_docker.container_files import file_mode

HEADER = "x-docker-container-path-stat"


class Files:
    """What the engine in memory lacks: files. `pieces` may hold an error, raised where it stands."""

    def __init__(self, engine):
        self.stat = PathStat("lf", 7, stat.S_IFLNK | 0o777, 1_500_000_000_120_000_000, "/a/ü")
        self.pieces = [b"x" * 600, b"y" * 300_000]
        self.received = None
        self.found = ()
        engine.files = self
        engine.container_get = lambda ref: SimpleNamespace(state=SimpleNamespace(status="exited"))
        engine.container_path = self._path
        engine.container_read = self._read
        engine.container_write = self._write
        engine.container_export = self._export
        engine.container_changes = lambda ref: self.found
        engine.container_commit = self._commit
        self.calls = []

    def _path(self, ref, path):
        self.calls.append((ref, path))
        if path == "/nope":
            raise NotFound(f"Could not find the file {path} in container {ref}", hint="look")
        return self.stat

    def _read(self, ref, path, begin):
        self._path(ref, path)
        self._send(begin(self.stat))

    def _export(self, ref, write):
        self._send(write)

    def _send(self, write):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            write(piece)

    def _write(self, ref, path, source, *, no_overwrite, copy_owner):
        self._path(ref, path)
        self.received = (b"".join(source), no_overwrite, copy_owner)

    def _commit(self, ref, request):
        self.calls.append((ref, request))
        return make_image()


@pytest.fixture
def files(engine):
    return Files(engine)


def decoded(headers):
    return json.loads(base64.b64decode(headers[HEADER]))


def test_a_stat_is_a_header(api, files):
    code, headers, data = api.call("HEAD", f"/containers/c1/archive?path={quote('/a b+c/ü')}")
    assert (code, data) == (200, b"")
    assert files.calls == [("c1", "/a b+c/ü")]
    assert decoded(headers) == {
        "name": "lf",
        "size": 7,
        "mode": 1 << 27 | 0o777,
        "mtime": "2017-07-14T02:40:00.12Z",
        "linkTarget": "/a/ü",
    }


@pytest.mark.parametrize(
    ("mode", "bits"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFREG | 0o6755, 1 << 23 | 1 << 22 | 0o755),
        (stat.S_IFCHR | 0o666, 1 << 26 | 1 << 21 | 0o666),
        (stat.S_IFBLK | 0o660, 1 << 26 | 0o660),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
        (stat.S_IFSOCK | 0o600, 1 << 24 | 0o600),
    ],
)
def test_modes_are_gos(mode, bits):
    assert file_mode(mode) == bits


def test_an_archive_is_streamed_with_its_stat(api, files):
    code, headers, data = api.call("GET", "/containers/c1/archive?path=/a")
    assert (code, headers["content-type"], headers["transfer-encoding"]) == (
        200,
        "application/x-tar",
        "chunked",
    )
    assert decoded(headers)["name"] == "lf"
    assert data == b"x" * 600 + b"y" * 300_000


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_what_is_not_there_is_an_http_error(api, files, method):
    code, headers, data = api.call(
        method, "/containers/c1/archive?path=/nope", b"" if method == "PUT" else None
    )
    assert (code, HEADER in headers) == (404, False)
    if method != "HEAD":
        assert json.loads(data)["message"] == "Could not find the file /nope in container c1"
        assert (
            api.message(method, "/containers/c1/archive", status=400) == "bad parameter: path cannot be empty"
        )


def test_an_archive_that_breaks_off_does_not_look_whole(api, files):
    files.pieces = [b"x" * 200_000, Internal("the disk broke")]
    for path in ("/containers/c1/archive?path=/a", "/containers/c1/export"):
        got = api.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not got.endswith(b"0\r\n\r\n")


def test_an_upload_of_any_length_reaches_the_engine(api, files):
    data = b"0123456789" * 500_000
    code, _, body = api.call(
        "PUT", "/containers/c1/archive?path=/a&noOverwriteDirNonDir=true&copyUIDGID=1", data
    )
    assert (code, body) == (200, b"")
    assert files.received == (data, True, True)
    api.call("PUT", "/containers/c1/archive?path=/a&noOverwriteDirNonDir=0", b"x")
    assert files.received == (b"x", False, False)
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (b"a" * 70_000, b"b", b"c" * 300_000))
    head = b"PUT /containers/c1/archive?path=/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert api.raw(head + chunked + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert files.received[0] == b"a" * 70_000 + b"b" + b"c" * 300_000


def test_an_export_is_streamed(api, files):
    code, headers, data = api.call("GET", "/containers/c1/export")
    assert (code, headers["content-type"], len(data)) == (200, "application/octet-stream", 300_600)
    files.pieces = []
    assert api.call("GET", "/containers/c1/export")[2] == b""
    files.pieces = [NotFound("No such container: c1")]
    assert api.message("GET", "/containers/c1/export", status=404) == "No such container: c1"


def test_changes(api, files):
    assert api.call("GET", "/containers/c1/changes")[2] == b"null\n"
    files.found = tuple(Change(f"/{kind}", kind) for kind in ChangeKind)
    assert json.loads(api.call("GET", "/containers/c1/changes")[2]) == [
        {"Path": "/modified", "Kind": 0},
        {"Path": "/added", "Kind": 1},
        {"Path": "/deleted", "Kind": 2},
    ]


def test_a_commit(api, files):
    query = (
        "container=c1&repo=reg:5000/x&tag=1&author=me&comment=why&changes="
        + quote('CMD ["a"]')
        + "&changes=ENV+A%3Db&pause=0"
    )
    body = json.dumps({"Env": ["B=c"], "Labels": {"x": "y"}}).encode()
    code, _, data = api.call("POST", f"/commit?{query}", body, {"Content-Type": "application/json"})
    assert (code, json.loads(data)) == (201, {"Id": IMAGE_ID})
    ref, request = files.calls[-1]
    assert (ref, request.repository, request.tag, request.author, request.comment) == (
        "c1",
        "reg:5000/x",
        "1",
        "me",
        "why",
    )
    assert (request.changes, request.pause) == (('CMD ["a"]', "ENV A=b"), False)
    assert request.config == {"Env": ["B=c"], "Labels": {"x": "y"}}
    api.call("POST", "/commit?container=c1", b"null", {"Content-Type": "application/json"})
    assert (files.calls[-1][1].config, files.calls[-1][1].pause, files.calls[-1][1].repository) == (
        None,
        True,
        "",
    )
    assert api.message("POST", "/commit", status=400) == "bad parameter: container cannot be empty"
