"""The data root on a disk of 60 MB, with few inodes, or read-only: every client is told why, the space comes back, containers run on."""

import contextlib
import gzip
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import busybox_layer, registry_in, write_profile
from registry_image import docker_archive

from barque.testing import need
from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import CONFIG, LAYER, MANIFEST

pytestmark = pytest.mark.root
MEGABYTE = 1_000_000
FULL = "no space left on device"


@pytest.fixture(scope="module")
def registry(lab):
    with registry_in(lab) as registry:
        registry.add_image("busybox", "1", [busybox_layer().content()])
        yield registry


@contextlib.contextmanager
def disk_daemon(lab, workspace, registry, *options):
    """A daemon whose data root is an ext4 of 60 MB, with an image, and a container that counts into a file elsewhere."""
    base = Path(tempfile.mkdtemp(dir=workspace))
    (base / "root").mkdir()
    with (base / "image").open("wb") as file:
        file.truncate(60 * MEGABYTE)
    subprocess.run([need.tool("mkfs.ext4"), "-q", "-m", "0", *options, base / "image"], check=True)
    if subprocess.run(
        ["mount", "-o", "loop,errors=remount-ro", base / "image", base / "root"], check=False
    ).returncode:
        need.unavailable("needs loop devices")
    daemon = Daemon(base, lab, write_profile(base / "p.toml", overlay={"worker_idle_seconds": 0.2}))
    try:
        daemon.start()
        daemon.image = f"{registry.address}/busybox:1"
        assert daemon.docker("pull", "-q", daemon.image).returncode == 0
        (base / "out").mkdir()
        count = "i=0; while :; do i=$((i+1)); echo $i > /out/count; sleep 0.1; done"
        started = daemon.docker(
            "run", "-d", "--name", "counts", "-v", f"{base}/out:/out", daemon.image, "sh", "-c", count
        )
        assert started.returncode == 0, started.stderr
        yield daemon
    finally:
        try:
            if daemon.process is not None and not daemon.answers():
                daemon.start()  # it died in the test: a container it left would keep the disk mounted
            if daemon.answers():
                for container in daemon.json("GET", "/containers/json?all=1"):
                    daemon.request("DELETE", f"/containers/{container['Id']}?force=1")
                daemon.stop()
        finally:
            _unmount(base / "root")
            daemon.close()


def _unmount(point):
    for _attempt in range(100):
        if subprocess.run(["umount", point], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture(scope="module")
def small(lab, workspace, registry):
    with disk_daemon(lab, workspace, registry, "-N", "8000") as daemon:
        yield daemon


@pytest.fixture
def daemon(small):
    with survives(small):
        yield small


@contextlib.contextmanager
def survives(daemon):
    """What the block does fills the disk and fails: afterwards the space and the inodes are back, the container counts on, and things work."""
    pid = daemon.json("GET", "/containers/counts/json")["State"]["Pid"]
    before, images = used(daemon), daemon.docker("images", "-q").stdout
    counted = count(daemon)
    yield
    assert daemon.json("GET", "/containers/counts/json")["State"]["Pid"] == pid
    _waits(lambda: count(daemon) > counted, "the container does not count on")
    _waits(
        lambda: used(daemon)[0] <= before[0] + MEGABYTE,
        lambda: f"{before} -> {used(daemon)}: {_listing(daemon)}",
    )
    _waits(lambda: used(daemon)[1] <= before[1] + 20, lambda: f"inodes {before} -> {used(daemon)}")
    assert daemon.docker("images", "-q").stdout == images
    assert daemon.docker("run", "--rm", daemon.image, "echo", "works").stdout == "works\n"
    assert daemon.docker("exec", "counts", "true").returncode == 0


def used(daemon):
    """Bytes and inodes in use."""
    root = daemon.base / "root"
    os.sync()
    status = os.statvfs(root)
    return (status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree


def count(daemon):
    return int((daemon.base / "out/count").read_text() or 0)


def _waits(condition, message, patience=10):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(0.05)


def _listing(daemon):
    return subprocess.run(
        ["du", "-a", "-t", "100k", daemon.base / "root"], capture_output=True, text=True, check=False
    ).stdout


def fails(result, cause=FULL):
    """The client of the docker CLI was told the cause."""
    assert result.returncode != 0, result.stdout
    assert cause in (result.stderr + result.stdout).lower(), result.stderr


def random_layer(size):
    return LayerTar().file("random", os.urandom(size)).content()


# Filled by each operation (row R18)


@pytest.mark.row("R18")
def test_pull_of_a_layer_that_does_not_fit(daemon, registry):
    registry.add_image("large", "1", [random_layer(70 * MEGABYTE)])
    fails(daemon.docker("pull", f"{registry.address}/large:1"))


@pytest.mark.row("R18")
def test_pull_that_unpacks_to_more_than_there_is(daemon, registry):
    tar = LayerTar().file("zeros", b"\1" * (70 * MEGABYTE)).content()
    blob = gzip.compress(tar, 1)
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }).encode()  # fmt: skip
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.add_blob(config), "size": len(config)},
        "layers": [{"mediaType": LAYER + "+gzip", "digest": registry.add_blob(blob), "size": len(blob)}],
    }  # fmt: skip
    registry.add_manifest("packed", "1", document)
    fails(daemon.docker("pull", f"{registry.address}/packed:1"))


@pytest.mark.row("R18")
def test_pulls_that_fill_the_disk_together(daemon, registry):
    for number in range(3):
        registry.add_image(f"part{number}", "1", [random_layer(14 * MEGABYTE)])
    pulls = [
        subprocess.Popen(
            daemon.docker_command("pull", "-q", f"{registry.address}/part{number}:1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    ends = [(pull.communicate(timeout=60)[1], pull.returncode) for pull in pulls]
    assert any(code for _, code in ends)
    assert all(FULL in text.lower() for text, code in ends if code)
    for number, (_, code) in enumerate(ends):
        if not code:
            assert daemon.docker("rmi", f"{registry.address}/part{number}:1").returncode == 0


@pytest.mark.row("R18")
def test_load(daemon, tmp_path):
    (tmp_path / "image.tar").write_bytes(docker_archive(random_layer(40 * MEGABYTE), "large:load"))
    fails(daemon.docker("load", "-i", str(tmp_path / "image.tar")))


@pytest.mark.row("R18")
def test_import(daemon, tmp_path):
    (tmp_path / "root.tar").write_bytes(random_layer(70 * MEGABYTE))
    fails(daemon.docker("import", str(tmp_path / "root.tar"), "large:import"))


@pytest.mark.row("R18")
def test_commit(daemon):
    write = "dd if=/dev/urandom of=/file bs=1M count=24 2>/dev/null"
    assert daemon.docker("run", "--name", "writer", daemon.image, "sh", "-c", write).returncode == 0
    fails(daemon.docker("commit", "writer", "large:commit"))
    assert daemon.docker("rm", "writer").returncode == 0


@pytest.mark.row("R18")
def test_container_that_writes_until_there_is_no_more(daemon):
    fails(daemon.docker("run", "--name", "writer", daemon.image, "dd", "if=/dev/zero", "of=/file", "bs=1M"))
    assert daemon.docker("logs", "counts").returncode == 0
    assert daemon.docker("exec", "counts", "echo", "full").stdout == "full\n"
    assert daemon.docker("rm", "writer").returncode == 0


@pytest.mark.row("R18")
def test_cp_into_a_container(daemon, tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(70 * MEGABYTE))
    assert daemon.docker("create", "--name", "target", daemon.image, "true").returncode == 0
    fails(daemon.docker("cp", str(tmp_path / "file"), "target:/file"))
    assert daemon.docker("rm", "target").returncode == 0


@pytest.mark.row("R18", "R20")
def test_no_space_for_anything(daemon):
    """Not a block is left: what needs one fails and leaves no half container, what needs none works."""
    filler = daemon.base / "root" / "filler"
    fd = os.open(filler, os.O_CREAT | os.O_WRONLY)
    try:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(fd, os.fstat(fd).st_size, size)
        containers = daemon.docker("ps", "-aq").stdout
        refused = []
        for number in range(10):  # the first may still fit into blocks that are there
            created = daemon.docker(
                "create", "--name", f"full{number}", "--label", "x=" + "x" * 50_000, daemon.image, "true"
            )
            if created.returncode:
                refused.append(created)
                break
        assert refused, "ten containers were made without a block"
        assert FULL in refused[0].stderr.lower() or "full" in refused[0].stderr.lower(), refused[0].stderr
        made = daemon.docker("ps", "-aq", "--no-trunc").stdout.split()
        assert {container[:12] for container in made} >= set(containers.split())
        for container in made:
            assert daemon.docker("inspect", container).returncode == 0
        assert daemon.docker("exec", "counts", "echo", "full").stdout == "full\n"
    finally:
        os.close(fd)
        filler.unlink()
    for container in daemon.json("GET", "/containers/json?all=1"):
        if "full" in container["Names"][0]:
            assert daemon.docker("rm", container["Id"]).returncode == 0


# Inodes, read-only (row R21)


@pytest.mark.row("R21")
def test_no_inodes(lab, workspace, registry):
    with disk_daemon(lab, workspace, registry, "-N", "700") as daemon:
        layer = LayerTar()
        for number in range(900):
            layer.file(f"{number}")
        registry.add_image("many", "1", [layer.content()])
        with survives(daemon):
            fails(daemon.docker("pull", f"{registry.address}/many:1"))
        script = "i=0; while touch /$i; do i=$((i+1)); done; touch /last"
        with survives(daemon):
            fails(daemon.docker("run", "--name", "writer", daemon.image, "sh", "-c", script))
            assert daemon.docker("rm", "writer").returncode == 0
        with survives(daemon):
            archive = docker_archive(layer.content(), "many:load")
            (daemon.base / "out/many.tar").write_bytes(archive)
            fails(daemon.docker("load", "-i", str(daemon.base / "out/many.tar")))


@pytest.mark.row("R21")
def test_read_only(lab, workspace, registry):
    with disk_daemon(lab, workspace, registry) as daemon:
        daemon.docker("run", "--name", "before", daemon.image, "true")
        registry.add_image("later", "1", [random_layer(1000)])
        pid = daemon.json("GET", "/containers/counts/json")["State"]["Pid"]
        _make_read_only(daemon.base / "root")
        counted = count(daemon)
        for command in (
            ("pull", f"{registry.address}/later:1"),
            ("create", "--name", "half", daemon.image, "true"),
            ("run", "--rm", daemon.image, "true"),
            ("tag", daemon.image, "another:1"),
            ("rm", "before"),
        ):
            fails(daemon.docker(*command), "read-only file system")
        assert daemon.docker("ps", "-aq").stdout.count("\n") == 2
        assert daemon.docker("images", "-q").stdout.count("\n") == 1
        assert daemon.docker("inspect", "before").returncode == 0
        assert daemon.docker("exec", "counts", "echo", "runs").stdout == "runs\n"
        _waits(lambda: count(daemon) > counted, "the container does not count on")
        # As an administrator would: everything down, check the disk, everything up.
        daemon.stop()
        os.kill(pid, signal.SIGKILL)
        _unmount(daemon.base / "root")
        subprocess.run(["e2fsck", "-fy", daemon.base / "image"], capture_output=True, check=False)
        subprocess.run(["mount", "-o", "loop", daemon.base / "image", daemon.base / "root"], check=True)
        daemon.start()
        assert daemon.json("GET", "/containers/counts/json")["State"]["Status"] == "exited"
        assert daemon.docker("pull", f"{registry.address}/later:1").returncode == 0
        assert daemon.docker("start", "counts").returncode == 0
        assert daemon.docker("rm", "before").returncode == 0


def _make_read_only(root):
    """What ext4 does by itself after an error on the disk. A remount is refused while files are open for writing."""
    device = os.stat(root).st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")
    with pytest.raises(OSError, match="Read-only"):
        (root / "probe").touch()
