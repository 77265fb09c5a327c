"""SIGKILL of the daemon in the middle of an operation: the next daemon finds it done or undone (row R3)."""

import http.client
import os
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from cgroup_parents import cgroups_below, remove_cgroups
from registry_image import IMAGE

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root

PARENT = f"/bq-failpoints-{os.getpid()}"
BODY = {
    "Image": IMAGE,
    "Cmd": ["sleep", "1000"],
    "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "18095"}]}, "CgroupParent": PARENT},
}


@pytest.fixture(autouse=True, scope="module")
def cgroup_parent():
    yield
    remove_cgroups(PARENT)


@pytest.fixture
def base(workspace):
    return Path(tempfile.mkdtemp(dir=workspace))


def attempt(daemon, method, path, body=None):
    """A request that the daemon may not survive."""
    try:
        return daemon.request(method, path, body)[0]
    except (OSError, http.client.HTTPException):
        return None


def leftovers(daemon, seconds=5.0):
    """What belongs to containers, anywhere. Directories go behind the answer to a removal: they have a moment."""
    deadline = time.monotonic() + seconds
    while (found := everything(daemon)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def everything(daemon):
    root, run = daemon.base / "root", daemon.base / "run"
    places = [root / "containers", root / "storage" / "overlay" / "snapshots", run / "containers"]
    found = [str(p) for place in places for p in place.glob("*")]
    found += [str(p) for p in cgroups_below(PARENT)]
    with sqlite3.connect(root / "barque.db") as database:
        found += [f"row {id}" for (id,) in database.execute("SELECT id FROM containers")]
    database.close()
    return found


def restart(daemon, failpoint=None):
    daemon.stop() if failpoint else None
    daemon.environment = {"BARQUE_FAILPOINT": f"{failpoint}:kill"} if failpoint else {}
    return daemon.start()


@pytest.fixture(scope="module")
def with_image(lab, registry, workspace):
    """A daemon that has the image; each test restarts it."""
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    try:
        daemon.start()
        assert daemon.docker("pull", "-q", IMAGE).returncode == 0
        yield daemon
    finally:
        if not daemon.answers():
            restart(daemon)
        daemon.close()


@pytest.fixture
def prepared(with_image):
    """Without containers and failpoints, whatever became of it in the test."""
    yield with_image
    if not with_image.answers():
        restart(with_image)
    for container in with_image.json("GET", "/containers/json?all=1"):
        with_image.request("DELETE", f"/containers/{container['Id']}?force=1")


@pytest.mark.row("R3")
@pytest.mark.parametrize(
    "failpoint",
    ["create.directory", "create.snapshot", "start.network", "start.launch", "start.started", "exit.record",
     "remove.begin", "remove.row-gone"],
)  # fmt: skip
def test_a_container_is_made_or_not_and_can_be_removed(prepared, failpoint):
    daemon = prepared
    assert leftovers(daemon) == []
    restart(daemon, failpoint)
    attempt(daemon, "POST", "/containers/create?name=half", BODY)
    attempt(daemon, "POST", "/containers/half/start")
    attempt(daemon, "DELETE", "/containers/half?force=1")
    assert daemon.process.wait(10) == -9, "the failpoint was not reached"
    # 2 s on an idle machine; beside two other workers on two processors it may take much longer
    assert restart(daemon) < (12.0 if "PYTEST_XDIST_WORKER" in os.environ else 4.0)
    for container in daemon.json("GET", "/containers/json?all=1"):
        assert container["State"] in ("created", "running", "exited")
        daemon.json("DELETE", f"/containers/{container['Id']}?force=1")
    deadline = time.monotonic() + 5
    while leftovers(daemon) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(daemon) == []
    created = daemon.json("POST", "/containers/create?name=half", BODY)["Id"]
    daemon.json("POST", f"/containers/{created}/start")  # the port and the name are free again


@pytest.mark.row("R3")
@pytest.mark.parametrize("failpoint", ["pull.unpack", "pull.record", "image.record"])
def test_a_pull_is_done_or_not(lab, registry, base, failpoint):
    daemon = Daemon(base, lab, environment={"BARQUE_FAILPOINT": f"{failpoint}:kill"})
    try:
        daemon.start()
        daemon.docker("pull", "-q", IMAGE)
        assert daemon.process.wait(10) == -9
        restart(daemon)
        assert daemon.json("GET", "/images/json") == []
        assert daemon.docker("run", "--rm", IMAGE, "echo", "again").stdout == "again\n"
        assert daemon.docker("rmi", IMAGE).returncode == 0
        assert list((base / "root" / "content" / "blobs" / "sha256").iterdir()) == []
        assert [p for p in (base / "root" / "storage" / "overlay" / "layers").iterdir() if p.is_dir()] == []
    finally:
        if not daemon.answers():
            restart(daemon)
        daemon.close()


@pytest.mark.row("R3")
def test_a_commit_is_done_or_not(prepared):
    """The container goes on, and nothing of the layer is left."""
    daemon = prepared
    run = ("run", "-d", "--name", "half", "--cgroup-parent", PARENT, "--network", "none", IMAGE)
    assert daemon.docker(*run, "sh", "-c", "echo data > /data; sleep 1000").returncode == 0
    images, layers = daemon.json("GET", "/images/json"), stored_layers(daemon)
    restart(daemon, "commit.record")
    attempt(daemon, "POST", "/commit?container=half&repo=made")
    assert daemon.process.wait(10) == -9, "the failpoint was not reached"
    restart(daemon)
    assert [one["Id"] for one in daemon.json("GET", "/images/json")] == [one["Id"] for one in images]
    assert daemon.docker("exec", "half", "cat", "/data").stdout == "data\n"
    deadline = time.monotonic() + 10
    while stored_layers(daemon) != layers:
        assert time.monotonic() < deadline, stored_layers(daemon)
        time.sleep(0.05)
    made = daemon.json("POST", "/commit?container=half&repo=made")["Id"]
    daemon.json("DELETE", f"/images/{made}")


def stored_layers(daemon):
    return sorted(path.name for path in (daemon.base / "root/storage/overlay/layers").glob("[!.]*"))
