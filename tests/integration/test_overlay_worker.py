"""The processes that unpack: killed, orphaned, given bombs and trojans."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zstandard

from barque.spi.errors import Internal, InvalidArgument
from barque.spi.storage import LayerApply
from barque.testing.layers import MEDIA_TYPES, LayerTar
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _alone():
    """The workers of earlier tests end before a test counts its own."""
    eventually(lambda: not workers_of(os.getpid()))


@pytest.fixture
def driver(tmp_path):
    return OverlayStorage(
        "overlay", OverlayStorage.Config(worker_idle_seconds=0.3), str(tmp_path / "storage")
    )


def workers_of(pid):
    """The children of process `pid` that unpack layers."""
    children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for group in children for child in group if is_worker(child)]


def is_worker(pid):
    try:
        return b"barque.spi.trees.unpack" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended since


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def big_layer(directory):
    """A layer of 400 MB that compresses well."""
    layer = LayerTar()
    for number in range(40):
        layer.file(f"zeros{number}", bytes(10_000_000))
    return layer.store(directory, "zstd")


def test_killed_worker_is_an_error_with_its_cause_and_leaves_nothing(driver, tmp_path):
    errors = []

    def apply():
        try:
            driver.storage_apply(request)
        except Internal as error:
            errors.append(error)

    request = big_layer(tmp_path)
    thread = threading.Thread(target=apply)
    thread.start()
    worker = eventually(lambda: workers_of(os.getpid()))[0]
    eventually(lambda: any((tmp_path / "storage/tmp").glob("*/fs/zeros*")))
    os.kill(worker, signal.SIGKILL)
    thread.join(10)
    assert len(errors) == 1
    assert "killed by signal 9" in errors[0].message
    assert request.diff_id in errors[0].message
    assert driver.storage_list().layers == ()
    eventually(
        lambda: not os.listdir(tmp_path / "storage/tmp") and not os.listdir(tmp_path / "storage/trash")
    )
    assert driver.storage_apply(request).inodes == 40


@pytest.mark.row("R3")
def test_workers_die_with_the_daemon(tmp_path):
    request = big_layer(tmp_path)
    program = (
        "import sys\nfrom barque.spi.storage import LayerApply\nfrom barque_storage_overlay.plugin import OverlayStorage\n"
        "driver = OverlayStorage('overlay', OverlayStorage.Config(), sys.argv[1])\n"
        "driver.storage_apply(LayerApply(*sys.argv[2:]))\n"
    )
    arguments = [str(tmp_path / "storage"), request.diff_id, request.blob, request.media_type]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment) as daemon:
        worker = eventually(lambda: workers_of(daemon.pid))[0]
        eventually(lambda: any((tmp_path / "storage/tmp").glob("*/fs/zeros*")))
        daemon.kill()
    eventually(
        lambda: (
            not os.path.exists(f"/proc/{worker}")
            or Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"
        )
    )


def test_idle_workers_are_reused_and_end(tmp_path):
    # long enough for a machine that has something else to do between the two
    config = OverlayStorage.Config(worker_idle_seconds=2.0)
    driver = OverlayStorage("overlay", config, str(tmp_path / "storage"))
    driver.storage_apply(LayerTar().file("a").store(tmp_path))
    first = workers_of(os.getpid())
    driver.storage_apply(LayerTar().file("b").store(tmp_path))
    assert workers_of(os.getpid()) == first
    eventually(lambda: not workers_of(os.getpid()))


def test_worker_killed_while_idle_is_replaced(driver, tmp_path):
    driver.storage_apply(LayerTar().file("a").store(tmp_path))
    (worker,) = workers_of(os.getpid())
    os.kill(worker, signal.SIGKILL)
    # a zombie: only then can its parent know that it has ended
    eventually(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    driver.storage_apply(LayerTar().file("b").store(tmp_path))


def test_worker_has_an_empty_root_and_few_descriptors(driver, tmp_path):
    driver.storage_apply(LayerTar().file("a").store(tmp_path))
    (worker,) = workers_of(os.getpid())
    assert os.readlink(f"/proc/{worker}/root") == str(tmp_path / "storage/empty")
    assert os.listdir(f"/proc/{worker}/root") == []
    eventually(lambda: len(os.listdir(f"/proc/{worker}/fd")) == 4)
    assert Path(f"/proc/{worker}/environ").read_bytes() == b""


@pytest.mark.row("S20")
def test_helper_programs_of_the_host_or_the_image_are_never_run(driver, tmp_path, monkeypatch):
    trojans = tmp_path / "bin"
    trojans.mkdir()
    layer = LayerTar()
    for name in ("unpigz", "pigz", "igzip", "gzip", "zstd", "xz", "tar"):
        script = f"#!/bin/sh\ntouch {tmp_path}/executed\n"
        (trojans / name).write_text(script)
        (trojans / name).chmod(0o755)
        layer.file(f"usr/bin/{name}", script.encode(), mode=0o755)
    monkeypatch.setenv("PATH", f"{trojans}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(trojans))
    for compression in ("gzip", "zstd"):
        driver.storage_apply(layer.store(tmp_path, compression))
        layer.file(compression)
    assert not (tmp_path / "executed").exists()


def bomb(compression):
    """1 GiB of zeros as one file of a tar, compressed, a megabyte at a time. That of gzip is one megabyte, made independent of
    what is before it, again and again. (The end with its checksum is missing: nobody may come so far.)"""
    import zlib

    size = 1 << 30
    head = LayerTar().file("zeros", b"").content()[:512]
    block = bytearray(head)
    block[124:136] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    zeros = bytes(1 << 20)
    if compression == "gzip":
        gzipped = zlib.compressobj(9, wbits=31)
        start = gzipped.compress(bytes(block)) + gzipped.flush(zlib.Z_FULL_FLUSH)
        return start + (gzipped.compress(zeros) + gzipped.flush(zlib.Z_FULL_FLUSH)) * (size >> 20)
    zstd = zstandard.ZstdCompressor().compressobj()
    out = [zstd.compress(bytes(block)), *(zstd.compress(zeros) for _ in range(size >> 20)), zstd.flush()]
    return b"".join(out)


@pytest.mark.row("S22")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_decompression_bomb_meets_its_limit_without_memory(tmp_path, compression):
    config = OverlayStorage.Config(worker_idle_seconds=2.0, max_layer_bytes=200_000_000)
    driver = OverlayStorage("overlay", config, str(tmp_path / "storage"))
    blob = tmp_path / "bomb"
    blob.write_bytes(bomb(compression))
    assert blob.stat().st_size < 2_000_000
    request = LayerApply(f"sha256:{'2' * 64}", str(blob), MEDIA_TYPES[compression])
    with pytest.raises(InvalidArgument, match="more than 200000000 bytes"):
        driver.storage_apply(request)
    (worker,) = workers_of(os.getpid())
    status = Path(f"/proc/{worker}/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kib < 100_000
    os.kill(worker, signal.SIGKILL)


def test_gzip_of_endless_empty_members_ends(driver, tmp_path):
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(b"") * 50_000)
    with pytest.raises(InvalidArgument):
        driver.storage_apply(LayerApply(f"sha256:{'3' * 64}", str(blob), MEDIA_TYPES["gzip"]))
