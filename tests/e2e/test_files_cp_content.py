"""What `cp` copies: content and all that belongs to a file, into and out of every kind of place."""

import hashlib
import http.client
import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from our_cli import OURS
from registry_image import IMAGE

pytestmark = pytest.mark.root


def tree_of(root):
    """Type, mode, owner, time, attributes, links and content of all below a directory."""
    found = {}
    inodes = {}
    for directory, directories, files in os.walk(root):
        for path in [Path(directory, name) for name in (*directories, *files)]:
            status = path.lstat()
            name = str(path.relative_to(root))
            first = (
                inodes.setdefault(status.st_ino, name) if status.st_nlink > 1 and not path.is_dir() else name
            )
            content = os.readlink(path) if path.is_symlink() else ""
            if path.is_file() and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if key.startswith(("user.", "security.capability"))
            }
            found[name] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                first,
                content,
                attributes,
            )
    return found


def make_tree(root):
    """A bit of everything."""
    (root / "a/b").mkdir(parents=True)
    (root / "a/file").write_bytes(b"content" * 1000)
    (root / "a/empty").touch()
    os.link(root / "a/file", root / "a/b/linked")
    (root / "a/link").symlink_to("../../outside")
    (root / "a/b" / ("long" * 60)).write_text("long name")
    (root / "a/ümläut \n").write_text("odd name")
    os.mkfifo(root / "a/fifo", 0o640)
    (root / "a/suid").write_text("x")
    os.chown(root / "a/suid", 1234, 70000)
    (root / "a/suid").chmod(0o6755)
    os.setxattr(root / "a/file", "user.colour", b"blue\x00\xff")
    os.setxattr(
        root / "a/suid", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    with (root / "a/sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(600_000)
        file.write(b"in the middle")
    os.chown(root / "a/b", 5, 6)
    (root / "a/b").chmod(0o1770)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + number, 10**18 + number * 1_000_001), follow_symlinks=False)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_an_archive_in_and_out_keeps_everything(daemon, container, tmp_path, running):
    make_tree(tmp_path)
    id = container()
    if not running:
        daemon.docker("stop", "-t", "0", id)
    command = [*OURS, "-H", daemon.host, "cp", "-a"]
    for words in ([f"{tmp_path}/a", f"{id}:/tmp/copy"], [f"{id}:/tmp/copy", f"{tmp_path}/back"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert tree_of(tmp_path / "back") == tree_of(tmp_path / "a")
    if running:
        listed = daemon.docker(
            "exec", id, "stat", "-c", "%a %u %g %Y", "/tmp/copy/suid", "/tmp/copy/b"
        ).stdout
        assert [line.split()[:3] for line in listed.splitlines()] == [
            ["6755", "1234", "70000"],
            ["1770", "5", "6"],
        ]


def test_without_archive_nothing_of_a_containers_privileges_comes_out(daemon, container, tmp_path):
    make_tree(tmp_path)
    id = container()
    assert daemon.docker("cp", f"{tmp_path}/a", f"{id}:/tmp/").returncode == 0
    daemon.docker("exec", id, "mknod", "/tmp/a/device", "c", "1", "3")
    (tmp_path / "o").mkdir()
    command = [*OURS, "-H", daemon.host, "cp", f"{id}:/tmp/a/.", f"{tmp_path}/o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "./device: a device is left out without --archive\n")
    status = (tmp_path / "o/suid").stat()
    assert (oct(status.st_mode), status.st_uid, status.st_gid) == ("0o100755", os.geteuid(), os.getegid())
    assert not (tmp_path / "o/device").exists()
    assert (tmp_path / "o/file").read_bytes() == b"content" * 1000


def test_copy_owner_gives_all_to_the_containers_user(daemon, container, tmp_path):
    (tmp_path / "f").write_text("x")
    os.chown(tmp_path / "f", 1234, 4321)
    ids = [container("--user", user) for user in ("bob", "5:6", "0")]
    owners = []
    for id in ids:
        assert daemon.docker("cp", "-a", f"{tmp_path}/f", f"{id}:/tmp/f").returncode == 0
        assert daemon.docker("cp", f"{tmp_path}/f", f"{id}:/tmp/g").returncode == 0
        owners.append(daemon.docker("exec", id, "stat", "-c", "%u:%g", "/tmp/f", "/tmp/g").stdout.split())
    assert owners == [["1000:1000", "1234:4321"], ["5:6", "1234:4321"], ["0:0", "1234:4321"]]


def memory(daemon, field, *, reset=False):
    """Bytes of the daemon; `reset` forgets the peak (proc(5), clear_refs)."""
    process = Path(f"/proc/{daemon.process.pid}")
    if reset:
        (process / "clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_file_and_many_small_ones(daemon, container, tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(1 << 20) * 4)
    small = tmp_path / "small"
    small.mkdir()
    for number in range(2000):
        (small / f"f{number}").write_bytes(b"%d\n" % number * (number % 50))
    id = container()
    before = memory(daemon, "VmRSS", reset=True)
    for name in ("big", "small"):
        assert daemon.docker("cp", f"{tmp_path}/{name}", f"{id}:/tmp/{name}", timeout=120).returncode == 0
        assert (
            daemon.docker("cp", f"{id}:/tmp/{name}", f"{tmp_path}/{name}.back", timeout=120).returncode == 0
        )
    assert digest(big) == digest(tmp_path / "big.back")
    assert memory(daemon, "VmHWM") < before + (32 << 20), "the daemon keeps what it copies"
    names = sorted(os.listdir(small))
    assert sorted(os.listdir(tmp_path / "small.back")) == names
    assert all((small / n).read_bytes() == (tmp_path / "small.back" / n).read_bytes() for n in names)


# -- places -----------------------------------------------------------------------------------


def test_binds_and_tmpfs_are_seen_and_read_only_is_obeyed(daemon, container, tmp_path):
    for name in ("rw", "ro"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text(name)
    (tmp_path / "new").write_text("new")
    id = container(
        "--read-only", "--tmpfs", "/scratch", "-v", f"{tmp_path}/rw:/rw", "-v", f"{tmp_path}/ro:/ro:ro"
    )  # fmt: skip
    new = f"{tmp_path}/new"
    assert daemon.docker("cp", new, f"{id}:/rw/").returncode == 0
    assert (tmp_path / "rw/new").read_text() == "new"
    assert daemon.docker("cp", new, f"{id}:/scratch/").returncode == 0
    assert daemon.docker("exec", id, "cat", "/scratch/new").stdout == "new"
    assert daemon.docker("cp", f"{id}:/scratch/new", f"{tmp_path}/back").returncode == 0
    assert (tmp_path / "back").read_text() == "new"
    assert "container rootfs is marked read-only" in daemon.docker("cp", new, f"{id}:/tmp/").stderr
    assert "mounted volume is marked read-only" in daemon.docker("cp", new, f"{id}:/ro/").stderr
    daemon.docker("stop", "-t", "0", id)
    assert daemon.docker("cp", new, f"{id}:/rw/again").returncode == 0
    assert (tmp_path / "rw/again").read_text() == "new"
    assert "container rootfs is marked read-only" in daemon.docker("cp", new, f"{id}:/tmp/").stderr
    assert "mounted volume is marked read-only" in daemon.docker("cp", new, f"{id}:/ro/").stderr
    assert daemon.docker("cp", f"{id}:/ro/there", f"{tmp_path}/there").returncode == 0
    assert (tmp_path / "there").read_text() == "ro"


@pytest.mark.row("S21")
def test_what_something_is_mounted_on_is_never_replaced(daemon, container, tmp_path):
    """From another mount namespace the kernel would take the mount away, and a write into it would change the host's file."""
    for name in ("file", "new", "directory/new"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    id = container("-v", f"{tmp_path}/file:/one", "-v", f"{tmp_path}/directory:/outer/inner")
    before = (tmp_path / "file").stat()
    for target in ("/one", "/etc/hosts"):
        refused = daemon.docker("cp", f"{tmp_path}/new", f"{id}:{target}")
        assert (refused.returncode, "device or resource busy" in refused.stderr) == (1, True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("outer"))
    status, answer = put(daemon, id, "/", buffer.getvalue())
    assert (status, b"device or resource busy" in answer) == (409, True)
    assert (tmp_path / "file").stat() == before
    seen = daemon.docker("exec", id, "cat", "/one", "/outer/inner/new").stdout
    assert seen == "filedirectory/new", "a mount was taken from the container"


def put(daemon, id, path, data):
    """`PUT /containers/ID/archive`: status and body."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(daemon.socket))
        connection.request("PUT", f"/containers/{id}/archive?path={path}", data)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_created_container_takes_files_before_its_first_start(daemon, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index").write_text("hello from a copy")
    made = daemon.docker(
        "create",
        "--network",
        "none",
        "-v",
        f"{tmp_path}/v:/deep/er",
        IMAGE,
        "cat",
        "/srv/index",
        "/deep/er/f",
    )
    id = made.stdout.strip()
    try:
        assert daemon.docker("cp", f"{tmp_path}/site", f"{id}:/srv").returncode == 0
        assert daemon.docker("cp", f"{tmp_path}/site/index", f"{id}:/deep/er/f").returncode == 0
        assert (tmp_path / "v/f").read_text() == "hello from a copy"
        assert daemon.docker("start", "-a", id).stdout == "hello from a copy" * 2
        assert daemon.docker("cp", f"{id}:/etc/hosts", f"{tmp_path}/hosts").returncode == 0
        assert "127.0.0.1\tlocalhost" in (tmp_path / "hosts").read_text()
    finally:
        daemon.docker("rm", "-f", id)
    assert str(daemon.base) not in Path("/proc/self/mountinfo").read_text()
