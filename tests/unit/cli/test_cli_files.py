"""`cp`, `diff`, `export`, `commit`: what they ask the daemon, and what a hostile daemon cannot make of it."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request

from barque.cli.copy_paths import Target, base_name, placed, split_argument
from barque.cli.errors import CliError
from barque.cli.tar_making import tar_of
from barque.cli.tar_unpacking import Unpacking
from barque.testing import need
from barque.testing.canary import Canary

DIRECTORY = 1 << 31


def archive(*entries: tuple[Any, ...]) -> bytes:
    """Entries are (name, type, content or link target, fields)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, value, *more in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, 1_500_000_000
            for field, wanted in (more[0] if more else {}).items():
                setattr(info, field, wanted)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = value
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return buffer.getvalue()


def unpack(root: Path, data: bytes, source: str = "d", name: str = "new", **options: bool) -> None:
    Unpacking(str(root), source, name, archive=options.get("archive", False)).run(io.BytesIO(data))


REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


# -- which is which ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("c:/x", ("c", "/x")),
        ("c:", ("c", "")),
        ("./a:b", ("", "./a:b")),
        ("/a:b", ("", "/a:b")),
        ("../a:b", ("", "../a:b")),
        ("plain", ("", "plain")),
        ("-", ("", "-")),
        (":x", ("", "x")),
    ],
)
def test_arguments_name_a_container_or_a_local_path(argument: str, parts: tuple[str, str]) -> None:
    assert split_argument(argument) == parts


@pytest.mark.parametrize(
    ("path", "name"), [("/a/b", "b"), ("/a/b/", "b"), ("/a/b/.", "."), (".", "."), ("/", "."), ("/.", ".")]
)
def test_what_a_source_is_called(path: str, name: str) -> None:
    assert base_name(path) == name


def test_places() -> None:
    there, file, absent = Target("/t", True, True), Target("/t/f", True, False), Target("/t/n", False, False)
    assert placed("s", True, there) == ("/t", "s")
    assert placed(".", True, there) == ("/t", ".")
    assert placed("s", False, file) == ("/t", "f")
    assert placed("s", True, absent) == ("/t", "n")
    assert placed("s", True, Target("/t/n/", False, False)) == ("/t", "n")
    with pytest.raises(CliError, match="cannot copy directory"):
        placed("s", True, file)
    with pytest.raises(CliError, match="no such directory"):
        placed("s", False, Target("/t/n/", False, False))


# -- what comes out ---------------------------------------------------------------------------


def test_a_tree_comes_out_under_its_new_name(tmp_path: Path) -> None:
    xattr = {"SCHILY.xattr.user.colour": "blue"}
    unpack(
        tmp_path,
        archive(
            ("d/", DIR, b"", {"mode": 0o555}),
            (
                "d/f",
                REG,
                b"hello",
                {"mode": 0o6755, "uid": 7, "pax_headers": {"mtime": "1500000000.123456789", **xattr}},
            ),
            ("d/l", SYM, "/etc/passwd"),
            ("d/h", LNK, "d/f"),
            ("d/sub/", DIR, b""),
        ),
    )
    new = tmp_path / "new"
    status = (new / "f").stat()
    assert (new / "f").read_bytes() == b"hello"
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, os.geteuid())
    assert status.st_mtime_ns == 1_500_000_000_123_456_789
    assert (new / "h").stat().st_ino == status.st_ino
    assert os.readlink(new / "l") == "/etc/passwd"
    assert (stat.S_IMODE(new.stat().st_mode), new.stat().st_mtime) == (0o555, 1_500_000_000)
    if "user.colour" in os.listxattr(new / "f"):
        assert os.getxattr(new / "f", "user.colour") == b"blue"


def test_contents_go_right_into_the_directory(tmp_path: Path) -> None:
    for data in (archive(("./", DIR, b""), ("./a", REG, b"1")), archive(("/", DIR, b""), ("/b", REG, b"2"))):
        unpack(tmp_path, data, ".", ".")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.row("S19")
@pytest.mark.parametrize(
    "entries",
    [
        [("../escaped", REG, b"x")],
        [("d/../../escaped", REG, b"x")],
        [("/escaped", REG, b"x")],
        [("other", REG, b"x")],
        [("d", DIR, b""), ("d/l", SYM, "{canary}"), ("d/l/etc/passwd", REG, b"x")],
        [("d", SYM, "{canary}"), ("d/etc/passwd", REG, b"x")],
        [("d", SYM, "{canary}/etc"), ("d", DIR, b"", {"mode": 0o777})],
        [("d", DIR, b""), ("d/h", LNK, "../../canary/etc/passwd"), ("d/h", REG, b"x")],
        [("d", DIR, b""), ("d/h", LNK, "{canary}/etc/passwd")],
        [("d", DIR, b""), ("d/l", SYM, "{canary}/etc"), ("d/h", LNK, "d/l/passwd")],
        [("d", DIR, b""), ("d/h", LNK, "d")],
        [("d", DIR, b""), ("d/x", b"9", b"")],
    ],
    ids=lambda entries: f"{entries[-1][0]} {entries[-1][1]!r}",
)
def test_a_hostile_archive_is_refused_and_writes_nowhere_else(tmp_path: Path, entries: list[Any]) -> None:
    canary = Canary.plant(tmp_path / "canary")
    (tmp_path / "o").mkdir()
    filled = [
        (name, kind, value.format(canary=canary.root) if isinstance(value, str) else value, *more)
        for name, kind, value, *more in entries
    ]
    with pytest.raises(CliError):
        unpack(tmp_path / "o", archive(*filled))
    canary.check()
    assert sorted(os.listdir(tmp_path)) == ["canary", "o"]
    (canary.root / "sealed").chmod(0o700)


def test_links_of_the_user_are_not_followed_but_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "o/new").mkdir(parents=True)
    (tmp_path / "o/new/f").symlink_to("../../mine")
    unpack(tmp_path / "o", archive(("d", DIR, b""), ("d/f", REG, b"theirs")))
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "o/new/f").read_text() == "theirs"


@pytest.mark.parametrize(("there", "kind"), [("mkdir", REG), ("touch", DIR)])
def test_directories_and_files_do_not_replace_one_another(tmp_path: Path, there: str, kind: bytes) -> None:
    getattr(tmp_path / "new", there)()
    with pytest.raises(CliError, match="cannot overwrite"):
        unpack(tmp_path, archive(("d", kind, b"")))


def test_devices_need_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = archive(("d", tarfile.CHRTYPE, b"", {"devmajor": 1, "devminor": 3}))
    unpack(tmp_path, device)
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().err == "d: a device is left out without --archive\n"


def test_file_capabilities_need_archive(tmp_path: Path) -> None:
    """As good as a set-user-id bit: root who copies a program out must not arm it for everybody on the host."""
    need.root()
    capability = bytes.fromhex("0100000200040000000000000000000000000000").decode("latin-1")
    attributes = {"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.x": "1"}
    entry = archive(("d", REG, b"x", {"mode": 0o4755, "pax_headers": attributes}))
    unpack(tmp_path, entry)
    assert "security.capability" not in os.listxattr(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o755
    unpack(tmp_path, entry, archive=True)
    assert "security.capability" in os.listxattr(tmp_path / "new")


@pytest.mark.parametrize("fields", [{"path": "d/a\0b"}, {"mtime": "soon"}, {"mtime": "1" * 400}])
def test_fields_that_no_file_can_have_are_an_error(tmp_path: Path, fields: dict[str, str]) -> None:
    with pytest.raises(CliError):
        unpack(tmp_path, archive(("d", DIR, b""), ("d/x", REG, b"x", {"pax_headers": fields})))


def test_names_of_a_container_cannot_write_to_the_terminal(
    cli: Any, daemon: FakeDaemon, tmp_path: Path
) -> None:
    device = archive(("f/\x1b]0;owned\x07", tarfile.CHRTYPE, b""), ("f/\x1b[2J/..", REG, b""))

    def answer(request: Request, exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Docker-Container-Path-Stat: {stat_header(DIRECTORY)}\r\n\r\n"
        exchange.connection.sendall(head.encode())
        exchange.chunk(device)
        exchange.end()

    daemon.route("GET /containers/c1/archive", answer)
    daemon.refuse("GET /containers/c2/changes", 404, "No such container: \x1b[2J")
    done = [cli("cp", "c1:/f", f"{tmp_path}/got"), cli("diff", "c2")]
    assert [one.returncode for one in done] == [1, 1]
    assert b"a device is left out" in done[0].stderr
    assert b"\\x1b[2J" in done[1].stderr
    assert not any(b"\x1b" in one.stderr for one in done)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="malformed"):
        unpack(tmp_path, archive(("d", REG, b"x" * 100_000))[:70_000])


# -- what goes in -----------------------------------------------------------------------------


def test_a_tree_as_a_tar(tmp_path: Path) -> None:
    top = tmp_path / "a"
    (top / "sub").mkdir(parents=True)
    (top / "f").write_bytes(b"x" * 700_000)
    os.link(top / "f", top / "sub/h")
    (top / "l").symlink_to("nowhere")
    os.utime(top / "f", ns=(0, 1_500_000_000_123_456_789))
    pieces = list(tar_of(str(top), "b"))
    assert max(map(len, pieces)) <= 1 << 20
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        found = {member.name: member for member in tar}
        assert list(found) == ["b", "b/f", "b/l", "b/sub", "b/sub/h"]
        assert tar.extractfile("b/f").read() == b"x" * 700_000  # type: ignore[union-attr]
    assert found["b/f"].pax_headers["mtime"] == "1500000000.123456789"
    assert (found["b/sub/h"].type, found["b/sub/h"].linkname) == (LNK, "b/f")
    assert found["b/l"].linkname == "nowhere"
    with pytest.raises(CliError, match="no such file or directory"):
        list(tar_of(str(tmp_path / "absent"), "x"))


# -- with a daemon ----------------------------------------------------------------------------


def stat_header(mode: int, link: str = "") -> str:
    document = {"name": "n", "size": 1, "mode": mode, "mtime": "2020-01-01T00:00:00Z", "linkTarget": link}
    return base64.b64encode(json.dumps(document).encode()).decode()


def serve_stats(daemon: FakeDaemon, stats: dict[str, str]) -> None:
    def answer(request: Request, exchange: Exchange) -> None:
        found = stats.get(request.query["path"])
        if found is None:
            exchange.error(404, "Could not find the file")
        else:
            exchange.send(200, b"", X_Docker_Container_Path_Stat=found)

    daemon.route("HEAD /containers/c1/archive", answer)


def test_cp_in_asks_for_the_target_and_sends_the_tree(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    serve_stats(daemon, {"/l": stat_header(1 << 27, "/real"), "/real": stat_header(DIRECTORY)})
    daemon.route("PUT /containers/c1/archive", lambda _request, answer: answer.send(200, b""))
    done = cli("cp", "-a", f"{tmp_path}/f", "c1:/l")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (sent,) = daemon.seen("PUT /containers/c1/archive")
    assert sent.query == {"path": "/real", "noOverwriteDirNonDir": "true", "copyUIDGID": "1"}


def test_cp_out_and_a_daemon_that_breaks_off(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    data = archive(("f", REG, b"hello"))

    def answer(request: Request, exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Docker-Container-Path-Stat: {stat_header(0o644)}\r\n\r\n"
        exchange.connection.sendall(head.encode())
        exchange.chunk(data[:700] if request.query["path"] == "/cut/f" else data)
        if request.query["path"] == "/cut/f":
            exchange.hang_up()
        else:
            exchange.end()

    daemon.route("GET /containers/c1/archive", answer)
    assert cli("container", "cp", "c1:/etc/f", f"{tmp_path}/got").returncode == 0
    assert (tmp_path / "got").read_text() == "hello"
    assert cli("cp", "c1:/etc/f", "-").stdout == data
    cut = cli("cp", "c1:/cut/f", f"{tmp_path}/cut")
    assert (cut.returncode, cut.stdout) == (1, b"")
    assert cut.stderr.strip()


def test_cp_of_a_refused_upload_tells_why(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    serve_stats(daemon, {"/": stat_header(DIRECTORY)})
    daemon.refuse("PUT /containers/c1/archive", 403, "container rootfs is marked read-only")
    done = cli("cp", f"{tmp_path}/f", "c1:/")
    assert (done.returncode, done.stderr) == (
        1,
        b"Error response from daemon: container rootfs is marked read-only\n",
    )


def test_diff_prints_a_letter_and_the_path(cli: Any, daemon: FakeDaemon) -> None:
    daemon.answer(
        "GET /containers/c1/changes", [{"Path": p, "Kind": k} for p, k in (("/a", 0), ("/b c", 1), ("/d", 2))]
    )
    assert cli("diff", "c1").stdout == b"C /a\nA /b c\nD /d\n"
    daemon.answer("GET /containers/c1/changes", None)
    assert cli("container", "diff", "c1").stdout == b""


def test_export_writes_a_file_whole_or_not_at_all(cli: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.route("GET /containers/c1/export", lambda _request, answer: answer.send(200, b"tar" * 1000))
    daemon.refuse("GET /containers/c2/export", 404, "No such container: c2")
    assert cli("export", "c1").stdout == b"tar" * 1000
    assert cli("export", "-o", f"{tmp_path}/e", "c1").returncode == 0
    assert (tmp_path / "e").read_bytes() == b"tar" * 1000
    missing = cli("export", "-o", f"{tmp_path}/absent", "c2")
    assert (missing.returncode, b"No such container: c2" in missing.stderr) == (1, True)
    assert not (tmp_path / "absent").exists()


def test_commit_sends_what_it_was_told(cli: Any, daemon: FakeDaemon) -> None:
    daemon.answer("POST /commit", {"Id": "sha256:1"}, 201)
    done = cli(
        "commit",
        "-m",
        "why",
        "-a",
        "me",
        "-c",
        "CMD a",
        "-c",
        "ENV b=c",
        "--pause=false",
        "c1",
        "reg:5000/x:2",
    )
    assert (done.returncode, done.stdout) == (0, b"sha256:1\n")
    (sent,) = daemon.seen("POST /commit")
    assert sent.queries == {
        "container": ["c1"], "repo": ["reg:5000/x"], "tag": ["2"], "comment": ["why"], "author": ["me"],
        "changes": ["CMD a", "ENV b=c"], "pause": ["0"],
    }  # fmt: skip
    assert cli("commit", "c1").stdout == b"sha256:1\n"
    assert daemon.seen("POST /commit")[-1].queries == {"container": ["c1"]}
    assert b"must be lowercase" in cli("commit", "c1", "foo/Bar").stderr
