"""`cp` as a stream: `-`, docker-py, clients and containers that end in the middle, a full disk."""

import fcntl
import io
import os
import subprocess
import tarfile
import time

import pytest
from our_cli import OURS

pytestmark = pytest.mark.root


def test_streams_of_tars(daemon, container):
    id = container()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("from/stdin")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    for number, command in enumerate((daemon.docker_command("cp"), [*OURS, "-H", daemon.host, "cp"])):
        daemon.docker("exec", id, "mkdir", f"/tmp/{number}")
        done = subprocess.run([*command, "-", f"{id}:/tmp/{number}"], input=buffer.getvalue(), check=False)
        assert done.returncode == 0
        out = subprocess.run(
            [*command, f"{id}:/tmp/{number}/from", "-"], capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(out)) as tar:
            assert tar.getnames() == ["from", "from/stdin"]
            assert tar.extractfile("from/stdin").read() == b"hello"
        bad = subprocess.run(
            [*command, "-", f"{id}:/etc/passwd"], input=buffer.getvalue(), capture_output=True, check=False
        )
        assert bad.returncode == 1
        assert b"must be a directory" in bad.stderr


def test_a_full_disk_is_told_and_ends_the_upload(daemon, container, tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(40 << 20)
    id = container("--tmpfs", "/small:size=1m")
    for command in (daemon.docker_command("cp"), [*OURS, "-H", daemon.host, "cp"]):
        done = subprocess.run(
            [*command, f"{tmp_path}/big", f"{id}:/small/"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert 'copying "big" to /small/ of the container: No space left on device' in done.stderr
    assert daemon.docker("exec", id, "rm", "/small/big").returncode == 0
    (tmp_path / "x").write_text("x")
    assert daemon.docker("cp", f"{tmp_path}/x", f"{id}:/small/x").returncode == 0


def test_docker_py_archives(daemon, container):
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.host, timeout=30)
    try:
        one = client.containers.get(container())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("file")
            entry.size = 2
            entry.mode = 0o4750
            tar.addfile(entry, io.BytesIO(b"hi"))
        assert one.put_archive("/tmp", buffer.getvalue())
        stream, stat = one.get_archive("/tmp/file")
        assert (stat["name"], stat["size"], stat["mode"], stat["linkTarget"]) == (
            "file",
            2,
            1 << 23 | 0o750,
            "",
        )
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            assert tar.extractfile("file").read() == b"hi"
        assert one.get_archive("/bin/sh")[1]["linkTarget"] == "/bin/busybox"
        with pytest.raises(docker.errors.NotFound, match="Could not find the file /nope in container"):
            one.get_archive("/nope")
        with pytest.raises(docker.errors.APIError, match="extraction point is not a directory"):
            one.put_archive("/tmp/file", buffer.getvalue())
    finally:
        client.close()


def test_a_client_that_leaves_ends_the_copy(daemon, container, tmp_path):
    id = container()
    daemon.docker("exec", id, "dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=64")
    reader = subprocess.Popen(daemon.docker_command("cp", f"{id}:/tmp/big", "-"), stdout=subprocess.PIPE)
    reader.stdout.read(1 << 20)
    reader.kill()
    reader.communicate()
    deadline = time.monotonic() + 10
    while open_pipes(daemon) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not open_pipes(daemon)
    (tmp_path / "x").write_text("x")
    assert daemon.docker("cp", f"{tmp_path}/x", f"{id}:/tmp/x").returncode == 0


def test_a_container_that_ends_in_the_middle_does_not_end_the_copy(daemon, container):
    id = container()
    assert daemon.docker("exec", id, "dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=48").returncode == 0
    with subprocess.Popen(
        daemon.docker_command("cp", f"{id}:/tmp/big", "-"), stdout=subprocess.PIPE
    ) as reader:
        first = reader.stdout.read(1 << 20)
        daemon.docker("stop", "-t", "0", id)
        rest = reader.stdout.read()
    assert reader.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(first + rest)) as tar:
        assert tar.extractfile("big").read() == bytes(48 << 20)
    assert daemon.docker("start", id).returncode == 0
    assert daemon.docker("exec", id, "stat", "-c", "%s", "/tmp/big").stdout == f"{48 << 20}\n"


def test_a_stopped_container_starts_when_the_copy_has_ended(daemon, container):
    id = container()
    daemon.docker("exec", id, "dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=48")
    daemon.docker("stop", "-t", "0", id)
    with subprocess.Popen(
        daemon.docker_command("cp", f"{id}:/tmp/big", "-"), stdout=subprocess.PIPE
    ) as reader:
        first = reader.stdout.read(1 << 20)
        with subprocess.Popen(daemon.docker_command("start", id), stdout=subprocess.DEVNULL) as starting:
            time.sleep(0.5)
            assert starting.poll() is None, "it started on a root that is mounted for a copy"
            rest = reader.stdout.read()
        assert starting.returncode == 0
    assert len(first) + len(rest) > 48 << 20
    assert daemon.docker("exec", id, "true").returncode == 0


def test_events_are_dockers(daemon, container, tmp_path):
    (tmp_path / "f").touch()
    id = container()
    begin = time.time()
    daemon.docker("cp", f"{tmp_path}/f", f"{id}:/tmp/f")
    daemon.docker("cp", f"{id}:/tmp/f", f"{tmp_path}/back")
    daemon.docker("export", "-o", f"{tmp_path}/e", id)
    listed = daemon.docker(
        "events", "--since", f"{begin:.6f}", "--until", f"{time.time():.6f}", "--filter", f"container={id}",
        "--format", "{{.Action}}",
    )  # fmt: skip
    assert listed.stdout.split() == ["extract-to-dir", "archive-path", "export"]


def open_pipes(daemon):
    """Pipes the daemon holds for copies: of a megabyte."""
    pid = daemon.process.pid
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            if not os.readlink(path).startswith("pipe:"):
                continue
            own = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        if fcntl.fcntl(own, fcntl.F_GETPIPE_SZ) == 1 << 20:
            found.append(fd)
        os.close(own)
    return found
