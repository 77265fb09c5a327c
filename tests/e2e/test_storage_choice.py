"""The storage driver is the first that works on the data root, stays that, and has its layers unpacked again when it lacks them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from registry_image import IMAGE

import barque.profiles
from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root


@pytest.fixture
def base(workspace):
    directory = Path(tempfile.mkdtemp(dir=workspace))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemon_on_overlay(lab, base, registry):
    """A daemon whose data root is an overlayfs itself: the kernel takes none as an upper directory."""
    for name in ("lower", "upper", "work", "merged"):
        (base / name).mkdir()
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, base / "merged"], check=True)
    (base / "merged/d").mkdir()
    daemon = Daemon(base / "merged/d", lab, profile="default")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        subprocess.run(["umount", "-l", base / "merged"], check=True)


def test_containers_run_where_overlayfs_cannot(daemon_on_overlay):
    daemon = daemon_on_overlay
    info = daemon.json("GET", "/info")
    assert info["Driver"] == "dir"
    warning = next(warning for warning in info["Warnings"] if "Storage driver dir" in warning)
    assert "overlayfs cannot be mounted" in warning
    ran = daemon.docker(
        "run", "--name", "one", IMAGE, "sh", "-c", "echo hi; echo new > /etc/new; rm -f /etc/passwd"
    )
    assert (ran.stdout, ran.returncode) == ("hi\n", 0), ran.stderr
    assert daemon.docker("start", "-a", "one").returncode == 0
    changed = daemon.docker("diff", "one").stdout.splitlines()
    assert set(changed) == {"C /etc", "A /etc/new", "D /etc/passwd"}
    assert daemon.docker("commit", "one", "changed").returncode == 0
    committed = daemon.docker("run", "--rm", "changed", "sh", "-c", "cat /etc/new; ls /etc/passwd")
    assert committed.stdout == "new\n", committed.stderr
    copied = daemon.docker("cp", "one:/etc/new", str(daemon.base / "new"))
    assert (copied.returncode, (daemon.base / "new").read_text()) == (0, "new\n"), copied.stderr
    again = daemon.docker("run", "--rm", IMAGE, "cat", "/etc/passwd")
    assert again.stdout.startswith("root:"), "a container changed its image"
    assert daemon.json("GET", "/containers/one/json")["Driver"] == "dir"
    daemon.stop()
    daemon.start()
    assert daemon.json("GET", "/info")["Driver"] == "dir"
    assert daemon.docker("rm", "one").returncode == 0
    assert list((daemon.base / "root/storage/dir/snapshots").iterdir()) == []


def test_a_start_asks_no_driver_again(daemon_on_overlay):
    assert daemon_on_overlay.log.read_text().count("storage driver dir") == 1
    daemon_on_overlay.stop()
    daemon_on_overlay.start()
    assert daemon_on_overlay.log.read_text().count("storage driver dir") == 1
    assert "Storage driver dir" in str(daemon_on_overlay.json("GET", "/info")["Warnings"])


def test_overlay_is_first_where_it_works(daemon):
    assert daemon.json("GET", "/info")["Driver"] == "overlay"
    assert "Storage driver" not in str(daemon.json("GET", "/info")["Warnings"])


@pytest.mark.row("R27")
def test_a_lost_layer_is_unpacked_again(own_daemon):
    """By hand, as a careless administrator would."""
    layers = own_daemon.base / "root/storage/overlay/layers"
    for layer in layers.iterdir():
        shutil.rmtree(layer)
    ran = own_daemon.docker("run", "--rm", IMAGE, "echo", "hi")
    assert (ran.stdout, ran.returncode) == ("hi\n", 0), ran.stderr
    assert len(list(layers.iterdir())) == 1


@pytest.mark.row("R27")
def test_an_image_with_a_lost_layer_can_be_removed_and_pruned(own_daemon):
    for layer in (own_daemon.base / "root/storage/overlay/layers").iterdir():
        shutil.rmtree(layer)
    removed = own_daemon.docker("rmi", "-f", IMAGE)
    assert removed.returncode == 0, removed.stderr
    assert own_daemon.docker("image", "prune", "-af").returncode == 0
    assert own_daemon.docker("images", "-q").stdout == ""
    pulled = own_daemon.docker("run", "--rm", IMAGE, "echo", "hi")
    assert (pulled.stdout, pulled.returncode) == ("hi\n", 0), pulled.stderr


@pytest.mark.row("R27")
def test_a_lost_layer_and_its_lost_blob_are_named(own_daemon):
    root = own_daemon.base / "root"
    digest = own_daemon.json("GET", f"/images/{IMAGE}/json")["RootFS"]["Layers"][0]
    for layer in (root / "storage/overlay/layers").iterdir():
        shutil.rmtree(layer)
    for blob in (root / "content").rglob("*"):
        if blob.is_file() and blob.stat().st_size > 100_000:
            blob.unlink()
    ran = own_daemon.docker("run", "--rm", "--pull", "never", IMAGE, "true")
    assert ran.returncode == 125
    assert digest in ran.stderr
    assert "blob" in ran.stderr
    pulled = own_daemon.docker(
        "run", "--rm", IMAGE, "echo", "hi"
    )  # the client pulls what it is told is not there
    assert (pulled.stdout, pulled.returncode) == ("hi\n", 0), pulled.stderr


def test_another_driver_gets_the_layers_of_the_images_that_are_here(own_daemon, base):
    profile = base / "copies.toml"
    text = (Path(barque.profiles.__file__).parent / "builtin/default.toml").read_text()
    profile.write_text(text.replace('default = ["overlay", "dir"]', 'default = "dir"'))
    assert own_daemon.docker("run", "--name", "before", IMAGE, "touch", "/made").returncode == 0
    own_daemon.stop()
    own_daemon.profile = str(profile)
    own_daemon.start()
    assert own_daemon.json("GET", "/info")["Driver"] == "dir"
    ran = own_daemon.docker("run", "--rm", IMAGE, "echo", "hi")
    assert (ran.stdout, ran.returncode) == ("hi\n", 0), ran.stderr
    assert own_daemon.docker("start", "-a", "before").returncode == 0, "a container stays where it was made"
    assert own_daemon.docker("rm", "before").returncode == 0
    left = own_daemon.base / "root/storage/overlay/layers"
    assert list(left.iterdir())
    assert own_daemon.docker("rmi", IMAGE).returncode == 0
    assert own_daemon.docker("image", "prune", "-af").returncode == 0
    assert not list(left.iterdir()), "layers of the driver before are nobody's"


def test_a_size_limit_that_cannot_be_held_is_refused_with_the_remedy(daemon):
    ran = daemon.docker("run", "--rm", "--storage-opt", "size=10M", IMAGE, "true")
    if ran.returncode == 0:
        pytest.skip("the data root has project quotas")
    assert ran.returncode == 125
    assert "--storage-opt is supported only for overlay over ext4 or xfs with project quotas" in ran.stderr
    assert daemon.json("GET", "/containers/json?all=1") == []
