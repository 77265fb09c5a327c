"""The store of a real daemon: stopped in the middle of a pull, with a broken database, pruned (rows R11, R20, R26, R35)."""

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import Fault, FaultyRegistry

pytestmark = pytest.mark.root

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
HERE = SimpleNamespace(
    enter=()
)  # the host's own network: the profile has no bridge, and the registry listens there


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def daemon():
    with tempfile.TemporaryDirectory(prefix="bq-", dir="/tmp") as base:
        daemon = Daemon(Path(base), HERE, profile="minimal")
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.close()
            Path(base).mkdir(exist_ok=True)


def add(registry, name, *layers):
    registry.add_image(name, "1", [layer.content() for layer in layers], architecture=MACHINE)
    return f"{registry.address}/{name}:1"


def data(seed, size):
    return LayerTar().file(f"file-{seed}", seed.to_bytes(1) + os.urandom(size))


def pull(daemon, reference):
    """The lines of a pull; the last has the error, if there is one. An answer that breaks off has none."""
    try:
        status, body = daemon.request("POST", f"/images/create?fromImage={reference}")
    except (OSError, http.client.HTTPException):
        return []
    assert status == 200, body
    return [json.loads(line) for line in body.splitlines()]


def wait_for(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.row("R11")
def test_sigterm_during_a_download(daemon, registry):
    layer = data(1, 3_000_000)
    reference = add(registry, "app", layer)
    registry.inject(Fault("stall", path=layer.diff_id(), times=1, after=2_000_000))
    partial = daemon.base / "root/content/ingest" / layer.diff_id()[7:]
    puller = threading.Thread(target=pull, args=(daemon, reference))
    puller.start()
    wait_for(lambda: partial.exists() and partial.stat().st_size > 1_000_000)
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 10
    assert daemon.process.returncode == 0
    puller.join(10)
    assert partial.stat().st_size > 1_000_000, "what came is kept"
    daemon.start()
    assert "error" not in pull(daemon, reference)[-1]
    assert "range" in registry.asked(f"/blobs/{layer.diff_id()}")[-1].headers


@pytest.mark.row("R11")
def test_sigterm_while_a_layer_is_unpacked(daemon, registry):
    layer = LayerTar()
    for number in range(8_000):
        layer.file(f"file-{number}", b"x")
    reference = add(registry, "many", layer)
    tmp = daemon.base / "root/storage/overlay/tmp"
    puller = threading.Thread(target=pull, args=(daemon, reference))
    puller.start()
    wait_for(lambda: any(tmp.iterdir()))
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 10
    assert daemon.process.returncode == 0
    puller.join(10)
    daemon.start()
    wait_for(lambda: not any(tmp.iterdir()))
    assert "error" not in pull(daemon, reference)[-1]


def start_and_fail(daemon):
    """What a daemon that cannot start says, without what the log has before."""
    before = daemon.log.stat().st_size
    with pytest.raises(AssertionError, match="does not answer"):
        daemon.start()
    assert daemon.process.returncode == 1
    with daemon.log.open() as log:
        log.seek(before)
        return log.read()


@pytest.mark.row("R26")
@pytest.mark.parametrize("damage", ["garbage", "rows", "missing", "empty"])
def test_a_broken_database_ends_the_start_with_one_line_and_nothing_is_lost(daemon, registry, damage):
    layer = data(1, 1000)
    reference = add(registry, "app", layer)
    pull(daemon, reference)
    before = daemon.json("GET", "/images/json")
    daemon.stop()
    database = daemon.base / "root/barque.db"
    good = database.read_bytes()
    if damage == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif damage == "rows":
        database.write_bytes(good[:4096] + b"\xaa" * (len(good) - 4096))
    elif damage == "missing":
        database.unlink()
    else:
        database.write_bytes(b"")
    said = start_and_fail(daemon).strip()
    assert said.startswith("barqued: the metadata database")
    assert str(database) in said
    assert "\n" not in said
    database.write_bytes(good)
    daemon.start()
    assert daemon.json("GET", "/images/json") == before
    assert "error" not in pull(daemon, reference)[-1]
    assert len(registry.asked(layer.diff_id())) == 1, "its layer was still there"


def du(path):
    out = subprocess.run(["du", "-s", "--block-size=1", path], capture_output=True, check=True, text=True)
    return int(out.stdout.split()[0])


def test_after_prune_the_disk_is_really_free(daemon, registry):
    """moby#21925."""
    root = daemon.base / "root"
    before = du(root / "storage") + du(root / "content")
    for number in range(3):
        pull(daemon, add(registry, f"app{number}", data(9, 400_000), data(number, 700_000)))
    assert du(root) > 6_000_000
    pruned = daemon.json("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
    assert pruned["SpaceReclaimed"] > 6_000_000
    wait_for(lambda: du(root / "storage") + du(root / "content") <= before + 16384)
    assert daemon.json("GET", "/images/json") == []


@pytest.mark.row("R24")
def test_df_and_check_over_the_api(daemon, registry):
    layer = data(1, 50_000)
    reference = add(registry, "app", layer)
    pull(daemon, reference)
    container = daemon.json("POST", "/containers/create", {"Image": reference, "Cmd": ["/x"]})["Id"]
    usage = daemon.json("GET", "/barque/df")
    assert usage["Total"] == sum(item["Bytes"] for item in usage["Items"]) == du(daemon.base / "root")
    assert ("container", container) in {(item["Kind"], item["Owner"]) for item in usage["Items"]}
    blob = daemon.base / "root/content/blobs/sha256" / layer.diff_id()[7:]
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    assert findings(daemon, repair=False) == [("blob", layer.diff_id(), False)]
    assert findings(daemon, repair=True) == [("blob", layer.diff_id(), True)]
    pull(daemon, reference)
    assert findings(daemon, repair=False) == []


def findings(daemon, *, repair):
    status, body = daemon.request("POST", f"/barque/check?repair={int(repair)}")
    assert status == 200
    last = json.loads(body.splitlines()[-1])
    return [(f["Kind"], f["Subject"], f["Repaired"]) for f in last["aux"]["Findings"]]
