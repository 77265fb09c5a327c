"""A daemon that is killed again and again in a pull: nothing is lost, nothing is left (row R29)."""

import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import becomes, busybox_layer, bytes_stored, registry_in, stored, write_profile

from barque.testing.census import Census, Scope
from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar

pytestmark = pytest.mark.root


@pytest.fixture
def registry(lab):
    with registry_in(lab) as registry:
        yield registry


def layer(number, size):
    return LayerTar().file(f"file{number}", os.urandom(size)).content()


@pytest.mark.row("R29")
@pytest.mark.timeout(180)
def test_killed_twenty_times_in_a_pull(lab, workspace, registry):
    layers = [busybox_layer().content(), *(layer(number, 3_000_000) for number in range(4))]
    added = registry.add_image("app", "1", layers)
    total = sum(map(len, layers))
    base = Path(tempfile.mkdtemp(dir=workspace))
    slow = {"idle_timeout": 1.0, "backoff": 0.05, "max_bytes_per_second_down": 12 << 20}
    daemon = Daemon(base, lab, write_profile(base / "slow.toml", registry=slow))
    before = Census.take(Scope(mounts_below=[base]))
    try:
        for kill in range(18):
            _killed(daemon, registry, lambda kill=kill: bytes_stored(daemon) > (kill + 1) * total / 20)
        for point in ("pull.unpack", "pull.record"):
            daemon.environment = {"BARQUE_FAILPOINT": f"{point}:kill"}
            _killed(daemon, registry, lambda: False)
        daemon.environment = {}
        daemon.start()
        result = daemon.docker("pull", f"{registry.address}/app:1")
        assert result.returncode == 0, result.stderr
        output = daemon.docker(
            "run", "--rm", f"{registry.address}/app:1", "sh", "-c", "cat /file? | busybox sha256sum"
        )
        contents = b"".join(_member(data) for data in layers[1:])
        assert output.stdout.split()[0] == hashlib.sha256(contents).hexdigest()
        expected = {
            "blobs": {digest[7:] for digest in (added.manifest, added.config, *added.layers)},
            "layers": {digest[7:] for digest in added.layers},
            "partial": set(), "snapshots": set(), "tmp": set(), "trash": set(),
        }  # fmt: skip
        becomes(expected, lambda: stored(daemon))
        asked = [seen for digest in added.layers for seen in registry.asked(digest)]
        resumed = [
            int(re.match(r"bytes=(\d+)-", seen.headers["range"])[1])
            for seen in asked
            if "range" in seen.headers
        ]
        assert len(resumed) >= 5
        assert max(resumed) > 1_000_000
    finally:
        daemon.close()
    becomes([], lambda: _leaked(before, base))


def _leaked(before, base):
    """What is there that was not. (Another daemon's idle workers may have ended meanwhile.)"""
    found = before.difference(Census.take(Scope(mounts_below=[base]))).splitlines()
    return [line for line in found if line.startswith("+")]


def _killed(daemon, registry, moment):
    """Start the daemon and a pull; kill the daemon at the `moment`, or find it dead."""
    daemon.start()
    client = subprocess.Popen(
        daemon.docker_command("pull", "-q", f"{registry.address}/app:1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 10
    while not moment() and daemon.process.poll() is None and client.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    daemon.kill()
    client.communicate(timeout=10)


def _member(tar):
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return archive.extractfile(archive.getmembers()[0]).read()
