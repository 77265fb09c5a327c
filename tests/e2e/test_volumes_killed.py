"""SIGKILL of the daemon: a volume is made or not, removed or not, filled or empty (row R3); one in use goes on being used."""

import http.client
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
from registry_image import IMAGE
from volumes_lab import name, shell, volume_root

from barque.testing.daemon import Daemon
from barque.testing.storage_lab import wait_until
from barque.testing.volume_lab import mounts_below

pytestmark = pytest.mark.root


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
def killed(with_image):
    """Without containers, volumes and failpoints, whatever became of it in the test."""
    yield with_image
    if not with_image.answers():
        restart(with_image)
    for container in with_image.json("GET", "/containers/json?all=1"):
        with_image.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
    for volume in with_image.json("GET", "/volumes")["Volumes"]:
        with_image.json("DELETE", f"/volumes/{volume['Name']}")
    assert leftovers(with_image) == []


def restart(daemon, failpoint=None):
    daemon.stop() if failpoint else None
    daemon.environment = {"BARQUE_FAILPOINT": f"{failpoint}:kill"} if failpoint else {}
    return daemon.start()


def attempt(daemon, method, path, body=None):
    """A request that the daemon may not survive."""
    try:
        return daemon.request(method, path, body)[0]
    except (OSError, http.client.HTTPException):
        return None


def leftovers(daemon):
    """What belongs to volumes, anywhere."""
    found = [path.name for path in volume_root(daemon).glob("[!.]*")] + mounts_below(volume_root(daemon))
    with sqlite3.connect(daemon.base / "root" / "barque.db") as database:
        found += [f"row {id}" for (id,) in database.execute("SELECT id FROM volumes")]
    database.close()
    return found


def listed(daemon):
    return [volume["Name"] for volume in daemon.json("GET", "/volumes")["Volumes"]]


@pytest.mark.row("R3")
@pytest.mark.parametrize("failpoint", ["volume.create", "volume.created"])
def test_a_volume_is_made_or_not(killed, failpoint):
    restart(killed, failpoint)
    attempt(killed, "POST", "/volumes/create", {"Name": "half"})
    assert killed.process.wait(10) == -9, "the failpoint was not reached"
    restart(killed)
    assert listed(killed) == []
    assert leftovers(killed) == []
    assert killed.json("POST", "/volumes/create", {"Name": "half"})["Name"] == "half"


@pytest.mark.row("R3")
@pytest.mark.parametrize("failpoint", ["volume.remove", "volume.removing", "volume.removed"])
def test_a_volume_is_removed_or_not(killed, failpoint):
    shell(killed, "-v", "half:/v", script="echo data > /v/f")
    restart(killed, failpoint)
    attempt(killed, "DELETE", "/volumes/half")
    assert killed.process.wait(10) == -9, "the failpoint was not reached"
    restart(killed)
    if listed(killed):
        assert failpoint == "volume.remove"
        assert shell(killed, "-v", "half:/v", script="cat /v/f") == "data\n"
    else:
        assert leftovers(killed) == []


@pytest.mark.row("R3")
@pytest.mark.parametrize("failpoint", ["volume.fill", "remove.row-gone"])
def test_a_container_comes_and_goes_with_its_anonymous_volumes(killed, failpoint):
    restart(killed, failpoint)
    body = {"Image": IMAGE, "Volumes": {"/www": {}}, "HostConfig": {"Binds": ["named:/root"]}}
    attempt(killed, "POST", "/containers/create?name=half", body)
    attempt(killed, "DELETE", "/containers/half?v=1")
    assert killed.process.wait(10) == -9, "the failpoint was not reached"
    restart(killed)
    assert killed.json("GET", "/containers/json?all=1") == []
    assert listed(killed) == (["named"] if failpoint == "remove.row-gone" else [])
    made = killed.json("POST", "/containers/create?name=half", body)["Id"]
    (source,) = (
        mount["Source"]
        for mount in killed.json("GET", f"/containers/{made}/json")["Mounts"]
        if mount["Destination"] == "/www"
    )
    assert os.listdir(source) == ["index.html"]


@pytest.mark.row("R3")
def test_a_start_that_has_mounted_volumes_is_undone(killed):
    volume = {"Name": "mounted", "DriverOpts": {"type": "tmpfs", "device": "tmpfs"}}
    killed.json("POST", "/volumes/create", volume)
    restart(killed, "start.volumes")
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"Binds": ["mounted:/v"], "NetworkMode": "none"}}
    made = killed.json("POST", "/containers/create", body)["Id"]
    attempt(killed, "POST", f"/containers/{made}/start")
    assert killed.process.wait(10) == -9, "the failpoint was not reached"
    restart(killed)
    assert mounts_below(volume_root(killed)) == []
    killed.json("POST", f"/containers/{made}/start")
    assert killed.json("POST", f"/containers/{made}/wait") == {"StatusCode": 0}


@pytest.mark.row("R3")
def test_a_volume_that_was_being_filled_is_empty_again(killed):
    killed.json("POST", "/volumes/create", {"Name": "named"})
    restart(killed, "volume.fill")
    body = {"Image": IMAGE, "HostConfig": {"Binds": ["named:/www"]}}
    attempt(killed, "POST", "/containers/create?name=half", body)
    assert killed.process.wait(10) == -9, "the failpoint was not reached"
    (volume_root(killed) / "named" / "_data" / "half-copied").write_text("x")
    restart(killed)
    assert listed(killed) == ["named"]
    assert shell(killed, "-v", "named:/www", script="ls /www") == "index.html\n"


def test_volumes_in_use_outlive_the_daemon(killed):
    """The container goes on writing; the next daemon knows who has what, and lets go of it at the end."""
    volume = name()
    killed.json(
        "POST", "/volumes/create", {"Name": volume, "DriverOpts": {"type": "tmpfs", "device": "tmpfs"}}
    )
    script = "while sleep 0.02; do echo x >> /t/f; done"
    run = ("run", "-d", "--network", "none", "-v", f"{volume}:/t", IMAGE)
    one, two = (killed.docker(*run, "sh", "-c", program).stdout.strip() for program in (script, "sleep 1000"))
    killed.kill()
    assert len(mounts_below(volume_root(killed))) == 1
    killed.start()
    busy = killed.docker("volume", "rm", volume)
    assert busy.stderr.endswith(f"volume is in use - [{', '.join(sorted((one, two)))}]\n")
    killed.docker("rm", "-f", two)
    before = int(shell(killed, "-v", f"{volume}:/x", script="wc -c < /x/f"))
    wait_until(
        lambda: int(shell(killed, "-v", f"{volume}:/x", script="wc -c < /x/f")) > before,
        "the container writes no more, or to another file system",
    )
    killed.kill()
    killed.start()
    killed.docker("rm", "-f", one)
    assert mounts_below(volume_root(killed)) == []
    assert killed.docker("volume", "rm", volume).returncode == 0


def test_a_container_that_ended_without_a_daemon_leaves_nothing_mounted(killed):
    volume = name()
    killed.json(
        "POST", "/volumes/create", {"Name": volume, "DriverOpts": {"type": "tmpfs", "device": "tmpfs"}}
    )
    program = ("sh", "-c", "until [ -e /h/go ]; do sleep 0.02; done")
    signals = killed.base / "signals"
    signals.mkdir()
    one = killed.docker(
        "run", "-d", "-v", f"{volume}:/t", "-v", f"{signals}:/h", IMAGE, *program
    ).stdout.strip()
    pid = killed.json("GET", f"/containers/{one}/json")["State"]["Pid"]
    killed.kill()
    (signals / "go").touch()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the container did not end")
    killed.start()
    wait_until(lambda: mounts_below(volume_root(killed)) == [], "its volume stayed mounted")
    assert killed.json("GET", f"/containers/{one}/json")["State"]["Status"] == "exited"
