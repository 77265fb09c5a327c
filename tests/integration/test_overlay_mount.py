"""Snapshots through a real overlay mount, as the shim makes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.storage import SnapshotPrepare
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = pytest.mark.root


@pytest.fixture
def driver(tmp_path):
    return OverlayStorage(
        "overlay", OverlayStorage.Config(worker_idle_seconds=0.3), str(tmp_path / "storage")
    )


def apply(driver, directory, *layers):
    requests = [layer.store(directory) for layer in layers]
    for request in requests:
        driver.storage_apply(request)
    return tuple(request.diff_id for request in requests)


def test_a_hundred_and_twenty_layers(driver, tmp_path):
    layers = apply(driver, tmp_path, *(LayerTar().file(f"own{n}").file("top", b"%d" % n) for n in range(120)))
    driver.storage_prepare(SnapshotPrepare("k" * 128, layers))
    with MountedSnapshot(driver.storage_mounts("k" * 128), tmp_path / "mnt") as root:
        assert len(root.tree()) == 121
        assert root.read("top") == b"119"


def test_options_of_the_most_layers_fit_a_page_below_the_root(driver, tmp_path):
    layers = apply(driver, tmp_path, *(LayerTar().file(f"f{n}") for n in range(125)))
    driver.storage_prepare(SnapshotPrepare("k" * 128, layers))
    (mount,) = driver.storage_mounts("k" * 128)
    data = ",".join(mount.options).replace(f"{driver.root}/", "")
    assert len(data) < 4096
    with pytest.raises(InvalidArgument, match="max depth exceeded"):
        driver.storage_prepare(SnapshotPrepare("more", (*layers, layers[0])))


def test_a_layer_that_occurs_twice(driver, tmp_path):
    one, two = apply(
        driver, tmp_path, LayerTar().file("a", b"1").file("b", b"1"), LayerTar().file("a", b"2").whiteout("b")
    )
    driver.storage_prepare(SnapshotPrepare("c1", (one, two, one)))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert (root.read("a"), root.read("b")) == (b"1", b"1")


def test_an_opaque_root_hides_all_layers_below(driver, tmp_path):
    low, middle, high = LayerTar().file("low"), LayerTar().opaque(".").file("middle"), LayerTar().file("high")
    driver.storage_prepare(SnapshotPrepare("c1", apply(driver, tmp_path, low, middle, high)))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert set(root.tree()) == {"middle", "high"}


def test_options(driver, tmp_path):
    low, high = apply(driver, tmp_path, LayerTar().file("a"), LayerTar().file("b"))
    driver.storage_prepare(SnapshotPrepare("c1", (low, high)))
    (mount,) = driver.storage_mounts("c1")
    assert (mount.type, mount.source, mount.target) == ("overlay", "overlay", "")
    options = dict(option.split("=") for option in mount.options)
    top, bottom = options.pop("lowerdir").split(":")
    assert os.path.samefile(top, tmp_path / "storage/layers" / high[7:] / "fs")
    assert os.path.samefile(bottom, tmp_path / "storage/layers" / low[7:] / "fs")
    snapshot = f"{driver.root}/snapshots/c1"
    assert options == {
        "upperdir": f"{snapshot}/upper",
        "workdir": f"{snapshot}/work",
        "index": "off",
        "redirect_dir": "nofollow",
        "metacopy": "off",
    }


def test_a_lost_short_name_is_made_again(driver, tmp_path):
    layers = apply(driver, tmp_path, LayerTar().file("a"))
    for name in os.listdir(tmp_path / "storage/l"):
        os.unlink(tmp_path / "storage/l" / name)
    driver.storage_prepare(SnapshotPrepare("c1", layers))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert set(root.tree()) == {"a"}


def test_whiteout_through_a_link_and_a_replaced_directory(driver, tmp_path):
    low = LayerTar().file("usr/lib/gone").file("usr/lib/kept").file("etc/old").symlink("lib", "usr/lib")
    high = (
        LayerTar()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .whiteout("lib/gone")
        .whiteout("etc")
        .file("etc/new")
    )
    driver.storage_prepare(SnapshotPrepare("c1", apply(driver, tmp_path, low, high)))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert set(root.tree()) == {"usr", "usr/lib", "usr/lib/kept", "lib", "etc", "etc/new"}


def test_overlay_attributes_do_not_show_and_do_not_come_in(driver, tmp_path):
    secret = tmp_path / "storage/secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"host")
    low = LayerTar().file("d/low")
    high = LayerTar().directory(
        "d", {"trusted.overlay.redirect": b"/../../secret", "user.overlay.redirect": b"/secret"}
    )
    driver.storage_prepare(SnapshotPrepare("c1", apply(driver, tmp_path, low, high)))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert set(root.tree()) == {"d", "d/low"}
        assert root.xattrs("d") == {}


def test_root_of_a_container_is_for_everybody(driver, tmp_path):
    before = os.umask(0o077)
    try:
        driver.storage_prepare(SnapshotPrepare("c1", ()))
    finally:
        os.umask(before)
    assert (tmp_path / "storage/snapshots/c1/upper").stat().st_mode & 0o7777 == 0o755


def test_prepare_and_remove_are_fast(driver, tmp_path):
    """The hot path of `docker run`: under a millisecond on a journaling disk, and well below it on any in the median."""
    layers = apply(driver, tmp_path, *(LayerTar().file(f"f{n}") for n in range(8)))
    times = []
    for number in range(100):
        started = time.perf_counter()
        driver.storage_prepare(SnapshotPrepare(f"c{number}", layers))
        driver.storage_mounts(f"c{number}")
        driver.storage_remove(f"c{number}")
        times.append(time.perf_counter() - started)
    assert sorted(times)[50] < 0.02


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b"])
def test_root_that_cannot_be_an_option_is_refused(tmp_path, name):
    with pytest.raises(FailedPrecondition, match="overlay storage cannot live"):
        OverlayStorage("overlay", OverlayStorage.Config(), str(tmp_path / name))


def test_probe_says_that_overlay_on_overlay_does_not_work(driver, tmp_path):
    """In a namespace whose storage root lies on an overlay itself."""
    program = (
        "import sys\nfrom barque.shim.mounts import enter_namespace, mount_all\nfrom barque.spi.common import Mount\n"
        "from barque_storage_overlay.plugin import OverlayStorage\n"
        "enter_namespace()\nmount_all(sys.argv[1], [Mount('overlay', 'overlay', tuple(sys.argv[2:]))])\n"
        "answer = OverlayStorage('overlay', OverlayStorage.Config(), sys.argv[1] + '/storage').storage_probe()\n"
        "assert not answer.usable, answer\n"
        "print(answer.problems[0].what, answer.facts['backing_file_system'])\n"
    )
    driver.storage_prepare(SnapshotPrepare("c1", ()))
    (tmp_path / "mnt").mkdir()
    (mount,) = driver.storage_mounts("c1")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "mnt"), *mount.options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "overlayfs cannot be mounted" in done.stdout
    assert done.stdout.strip().endswith("overlay")


def test_probe_leaves_nothing(driver, tmp_path):
    before = sorted(os.listdir(tmp_path / "storage"))
    answer = driver.storage_probe()
    assert answer.usable
    assert answer.facts["d_type"] == "true"
    driver.storage_list()
    deadline = time.monotonic() + 5
    while os.listdir(tmp_path / "storage/tmp") or os.listdir(tmp_path / "storage/trash"):
        assert time.monotonic() < deadline
    assert sorted(os.listdir(tmp_path / "storage")) == before
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
