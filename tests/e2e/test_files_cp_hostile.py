"""`cp` against containers and archives that want out (rows S19, S20, S21)."""

import bz2
import gzip
import http.client
import io
import lzma
import socket
import subprocess
import sys
import tarfile

import pytest

from barque.testing.canary import Canary

pytestmark = pytest.mark.root

ROUNDS = 200
SECRET = b"nobody writes here"


@pytest.fixture
def canary(tmp_path):
    planted = Canary.plant(tmp_path / "canary")
    yield planted
    (planted.root / "sealed").chmod(0o700)


class Archive:
    """`/containers/ID/archive` on one connection."""

    def __init__(self, daemon, id):
        self._daemon, self._id = daemon, id

    def __call__(self, method, path, data=None):
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self._daemon.socket))
            connection.request(method, f"/containers/{self._id}/archive?path={path}", data)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.IncompleteRead as cut:  # it failed on the way, and says so by the missing end
            return 500, cut.partial
        finally:
            connection.close()


def tar_of(*entries):
    """Entries are (name, type, content or link target, fields)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, value, fields in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            for field, wanted in fields.items():
                setattr(info, field, wanted)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = value
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return buffer.getvalue()


EVIL = [
    ("etc", tarfile.DIRTYPE, b"", {"mode": 0o777, "uid": 65534}),
    ("etc/passwd", tarfile.REGTYPE, b"changed", {"mode": 0o666}),
    ("bin/tool", tarfile.REGTYPE, b"changed", {"mode": 0o4777}),
    ("sealed/new", tarfile.REGTYPE, b"changed", {}),
]

SWAP = """
mkdir -p /race/real/etc /race/real/bin /race/real/sealed; echo mine > /race/real/etc/passwd; cd /race
while :; do
  mv real x; mv x real; ln -s "$0" x; rm x; ln -s ../../../../../../../.."$0" x; rm x; ln -s / x; rm x
done
"""

EXCHANGE = """
import ctypes, os, sys
root, target = sys.argv[1:]
os.makedirs(root + "/x/etc"); open(root + "/x/etc/passwd", "w").write("mine")
os.symlink(target, root + "/y")
call = ctypes.CDLL(None).syscall
a, b = (root + "/x").encode(), (root + "/y").encode()
print("racing", flush=True)
while os.getppid() != 1:
    call(316, -100, a, -100, b, 2)
"""


@pytest.mark.row("S19")
@pytest.mark.parametrize("racer", ["shell in the container", "renameat2 on a bind"])
def test_a_racer_that_swaps_directories_for_links_reaches_nothing(daemon, container, canary, tmp_path, racer):
    if racer.startswith("shell"):
        id = container(program=("sh", "-c", SWAP, str(canary.root)))
        process = None
    else:
        (tmp_path / "bind").mkdir()
        id = container("-v", f"{tmp_path}/bind:/race")
        command = [sys.executable, "-c", EXCHANGE, str(tmp_path / "bind"), str(canary.root)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"racing\n"
    try:
        archive = Archive(daemon, id)
        evil = tar_of(*EVIL)
        nested = tar_of(*((f"x/{name}", *rest) for name, *rest in EVIL))
        seen = {"in": set(), "out": set()}
        for number in range(ROUNDS):
            status, _ = archive("PUT", "/race" if number % 2 else "/race/x", nested if number % 2 else evil)
            seen["in"].add(status)
            status, data = archive(
                "GET", ("/race/x/etc/passwd", "/race/x/etc", "/race/x/", "/race")[number % 4]
            )
            seen["out"].add(status)
            assert SECRET not in data
    finally:
        if process is not None:
            process.kill()
            process.communicate()
    canary.check()
    assert 200 in seen["in"] | seen["out"], "every copy failed: nothing was raced"
    assert daemon.request("GET", "/_ping")[1] == b"OK"


@pytest.mark.row("S19", "S21")
def test_hostile_archives_change_nothing_outside(daemon, container, canary):
    archive = Archive(daemon, container())
    root = str(canary.root)
    up = "../" * 30
    kinds = (tarfile.REGTYPE, tarfile.DIRTYPE)
    attacks = [
        *([(f"{up}{root}/etc/{name}", kind, b"", {"mode": 0o777})] for name in ("passwd", "new") for kind in kinds),
        *([(f"{root}/etc/{name}", kind, b"", {"mode": 0o777})] for name in ("passwd", "new") for kind in kinds),
        [("l", tarfile.SYMTYPE, root, {}), ("l/etc/passwd", tarfile.REGTYPE, b"x", {"mode": 0o777})],
        [("l2", tarfile.SYMTYPE, up + root, {}), ("l2/etc", tarfile.DIRTYPE, b"", {"mode": 0o777})],
        [("a/b", tarfile.DIRTYPE, b"", {}), ("a/b/c", tarfile.SYMTYPE, up, {}), (f"a/b/c{root}/etc/new", tarfile.REGTYPE, b"x", {})],
        [("h", tarfile.LNKTYPE, f"{root}/etc/passwd", {}), ("h", tarfile.REGTYPE, b"x", {"mode": 0o777})],
        [("h", tarfile.LNKTYPE, f"{up}{root}/etc/passwd", {})],
        [("l3", tarfile.SYMTYPE, f"{root}/etc/passwd", {}), ("h3", tarfile.LNKTYPE, "l3", {}), ("h3", tarfile.REGTYPE, b"x", {})],
        [("d", tarfile.DIRTYPE, b"", {}), ("d", tarfile.SYMTYPE, root, {}), ("d", tarfile.DIRTYPE, b"", {"mode": 0o777})],
        [("f", tarfile.SYMTYPE, f"{root}/etc/passwd", {"mode": 0o777, "uid": 7}), ("f", tarfile.REGTYPE, b"x", {})],
        [("proc", tarfile.SYMTYPE, "/proc/1/root", {}), (f"proc{root}/etc/passwd", tarfile.REGTYPE, b"x", {})],
        [("proc2", tarfile.SYMTYPE, "/proc/self/root", {}), (f"proc2{root}/etc/passwd", tarfile.REGTYPE, b"x", {})],
        [("x/" * 600 + "y", tarfile.REGTYPE, b"x", {})],
        [("n" * 300, tarfile.REGTYPE, b"x", {})],
    ]  # fmt: skip
    answers = [archive("PUT", "/tmp", tar_of(*entries)) for entries in attacks]
    canary.check()
    assert {status for status, _ in answers} <= {200, 400, 403, 404}
    refused = [status for status, _ in answers[:4]]
    assert refused == [400, 400, 400, 400]
    for path in (
        up + root,
        f"/tmp/l/{up}{root}",
        "/tmp/proc" + root,
        "/tmp/proc2" + root,
        "/proc/1/root" + root,
    ):
        status, data = archive("GET", f"{path}/etc/shadow")
        assert (status, SECRET in data) == (404, False) or status == 400


@pytest.mark.row("S20")
def test_no_program_or_library_of_the_container_is_run(daemon, container, canary, tmp_path):
    """What Docker calls by name (unpigz, xz), what a dynamic linker or name service would load (CVE-2019-14271)."""
    places = [f"{d}/{n}" for d in ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin") for n in (
        "unpigz", "pigz", "gzip", "xz", "unxz", "bzip2", "zstd", "tar", "chroot", "docker-untar", "python3"
    )]  # fmt: skip
    places += [f"{d}/{n}" for d in ("/lib", "/lib64", "/usr/lib", "/lib/x86_64-linux-gnu") for n in (
        "libnss_files.so.2", "libnss_dns.so.2", "libc.so.6", "liblzma.so.5", "libz.so.1"
    )]  # fmt: skip
    trojan = f"#!/bin/sh\ntouch /executed {canary.root}/executed\nexec cat\n".encode()
    entries = [(place[1:], tarfile.REGTYPE, trojan, {"mode": 0o755}) for place in places]
    id = container()
    archive = Archive(daemon, id)
    assert archive("PUT", "/", tar_of(*entries)) == (200, b"")
    assert daemon.docker("exec", id, "/usr/bin/unpigz").returncode == 0, "the trojan would not run at all"
    assert daemon.docker("exec", id, "rm", "/executed").returncode == 0
    plain = tar_of(("sent", tarfile.REGTYPE, b"sent", {}))
    zstandard = pytest.importorskip("zstandard")
    packed = {
        "gzip": gzip.compress(plain), "bzip2": bz2.compress(plain), "xz": lzma.compress(plain),
        "zstd": zstandard.ZstdCompressor().compress(plain), "plain": plain,
    }  # fmt: skip
    for running in (True, False):
        if not running:
            daemon.docker("stop", "-t", "0", id)
        for name, data in packed.items():
            directory = tar_of((f"{name}-{running}", tarfile.DIRTYPE, b"", {"mode": 0o755}))
            assert archive("PUT", "/tmp", directory)[0] == 200
            assert archive("PUT", f"/tmp/{name}-{running}", data) == (200, b"")
            status, got = archive("GET", f"/tmp/{name}-{running}/sent")
            with tarfile.open(fileobj=io.BytesIO(got)) as tar:
                assert (status, tar.extractfile("sent").read()) == (200, b"sent")
    for damaged in (packed["gzip"][:-20], packed["xz"][:-20], packed["zstd"][:-5], b"\x1f\x8b" + b"x" * 600):
        assert archive("PUT", "/tmp", damaged)[0] == 400
    assert daemon.docker("export", "-o", str(tmp_path / "export.tar"), id).returncode == 0
    assert archive("GET", "/executed")[0] == 404
    canary.check()
