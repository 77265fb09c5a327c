"""The conformance kit of kind `storage`: subclass, give one fixture, and your driver is proven.

    class TestMyStorage(StorageConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyStorage("mine", MyStorage.Config(), str(tmp_path / "storage"))

The class of the driver and of its config must be importable by name: the kill tests run the driver in a process of its
own. A driver whose instances do not tell `name`, `config` and `root` also overrides the fixture `rebuild`.
`media` names the compressions it reads. A subclass may add tests; it may not replace or remove one of the kit.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from barque.spi.common import Probe
from barque.spi.errors import AlreadyExists, BarqueError, InvalidArgument, NotFound
from barque.spi.storage import LayerApply, StorageHooks, StorageList
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot

__all__ = ["Rebuild", "StorageConformance"]

Rebuild = tuple[Callable[..., Any], tuple[Any, ...]]
"""A picklable callable and its arguments: what makes another instance on the same root."""

_MISSING = f"sha256:{'0' * 64}"
_MALFORMED_IDS = (
    "", "sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha512:" + "0" * 128, "../" * 20,
    "sha256:" + "0" * 63 + "/", "sha256:" + "0" * 64 + "\n",
)  # fmt: skip
_MALFORMED_KEYS = ("", ".", "..", "a/b", "../a", "-a", "a\n", "a" * 129, "a b", "a:b")
_KILLS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
_PATIENCE_SECONDS = 15.0


class StorageConformance:
    """What every storage driver must do. See the contract, `barque.spi.storage`."""

    _kit: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        replaced = sorted(
            name for name in vars(cls) if name.startswith("test_") and hasattr(StorageConformance, name)
        )
        if replaced:
            raise TypeError(
                f"{cls.__name__} replaces {replaced[0]}: a test of the conformance kit cannot be left out"
            )

    @pytest.fixture
    def driver(self) -> StorageHooks:
        """The driver under test, on an empty root."""
        raise NotImplementedError("a subclass of StorageConformance provides the fixture `driver`")

    @pytest.fixture
    def media(self) -> tuple[str, ...]:
        """Compressions the driver reads: names in `barque.testing.layers.MEDIA_TYPES`."""
        return ("gzip", "zstd", "plain")

    @pytest.fixture
    def rebuild(self, driver: Any) -> Rebuild:
        """How another process, or the next daemon, makes the driver on the same root."""
        return type(driver), (driver.name, driver.config, driver.root)

    @pytest.fixture
    def layer(self, tmp_path: Path) -> LayerApply:
        """A small ordinary layer."""
        return LayerTar().directory("etc").file("etc/motd", b"hello\n" * 1000).store(tmp_path)

    # Layers

    def test_probe_answers_and_finds_this_host_usable(self, driver: StorageHooks) -> None:
        answer = driver.storage_probe()
        assert isinstance(answer, Probe)
        assert answer.usable, answer.problems
        assert driver.storage_list() == StorageList((), ())

    def test_layer_is_listed_and_measured(self, driver: StorageHooks, layer: LayerApply) -> None:
        usage = driver.storage_apply(layer)
        assert usage.inodes == 2
        assert usage.bytes >= 6000
        assert driver.storage_list().layers == (layer.diff_id,)
        assert driver.storage_usage(layer.diff_id) == usage

    def test_layer_in_every_compression(
        self, driver: StorageHooks, media: tuple[str, ...], tmp_path: Path
    ) -> None:
        requests = [LayerTar().file(name, b"data").store(tmp_path, name) for name in media]
        for request in requests:
            assert driver.storage_apply(request).inodes == 1
        assert set(driver.storage_list().layers) == {request.diff_id for request in requests}

    def test_applying_twice_keeps_the_layer(self, driver: StorageHooks, layer: LayerApply) -> None:
        first = driver.storage_apply(layer)
        os.unlink(layer.blob)
        assert driver.storage_apply(layer) == first

    def test_layer_without_entries(self, driver: StorageHooks, tmp_path: Path) -> None:
        request = LayerTar().store(tmp_path)
        assert driver.storage_apply(request).inodes == 0
        driver.storage_prepare("c1", (request.diff_id,))
        assert driver.storage_mounts("c1")

    def test_same_layer_applied_by_many_at_once(self, driver: StorageHooks, layer: LayerApply) -> None:
        with ThreadPoolExecutor(8) as pool:
            usages = set(pool.map(lambda _number: driver.storage_apply(layer), range(8)))
        assert len(usages) == 1
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_many_layers_at_once(self, driver: StorageHooks, tmp_path: Path) -> None:
        requests = [LayerTar().file(f"file{number}", b"x" * 5000).store(tmp_path) for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(driver.storage_apply, requests))
        assert set(driver.storage_list().layers) == {request.diff_id for request in requests}

    def test_applying_and_removing_one_layer_at_once(self, driver: StorageHooks, layer: LayerApply) -> None:
        def churn(number: int) -> None:
            if number % 2:
                driver.storage_remove_layer(layer.diff_id)
            else:
                driver.storage_apply(layer)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, range(24)))
        driver.storage_apply(layer)
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_removed_layer_is_gone(self, driver: StorageHooks, layer: LayerApply) -> None:
        driver.storage_apply(layer)
        driver.storage_remove_layer(layer.diff_id)
        assert driver.storage_list().layers == ()
        with pytest.raises(NotFound):
            driver.storage_usage(layer.diff_id)
        driver.storage_remove_layer(layer.diff_id)
        driver.storage_remove_layer(_MISSING)

    # Layers that must not become any

    def test_wrong_diff_id_leaves_nothing(self, driver: Any, tmp_path: Path) -> None:
        before = _census(driver.root)
        request = LayerTar().file("a", b"data").store(tmp_path, diff_id=_MISSING)
        with pytest.raises(InvalidArgument, match=request.diff_id):
            driver.storage_apply(request)
        _assert_nothing_left(driver, before)

    def test_truncated_blob_leaves_nothing(self, driver: Any, media: tuple[str, ...], tmp_path: Path) -> None:
        before = _census(driver.root)
        for compression in media:
            request = LayerTar().file("a", os.urandom(100_000)).store(tmp_path, compression)
            os.truncate(request.blob, os.path.getsize(request.blob) // 2)
            with pytest.raises(InvalidArgument):
                driver.storage_apply(request)
        _assert_nothing_left(driver, before)

    def test_escaping_entry_is_refused_by_name(self, driver: Any, tmp_path: Path) -> None:
        before = _census(driver.root)
        request = LayerTar().file("fine").file("../../escaped", b"x").store(tmp_path)
        with pytest.raises(InvalidArgument, match="escaped"):
            driver.storage_apply(request)
        _assert_nothing_left(driver, before)

    def test_garbage_is_refused(self, driver: Any, tmp_path: Path) -> None:
        before = _census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_apply(LayerTar().raw(b"garbage " * 200).store(tmp_path, "plain"))
        _assert_nothing_left(driver, before)

    def test_missing_blob_is_an_error_of_the_contract(self, driver: StorageHooks, layer: LayerApply) -> None:
        os.unlink(layer.blob)
        with pytest.raises(BarqueError):
            driver.storage_apply(layer)
        assert driver.storage_list().layers == ()

    @pytest.mark.parametrize("diff_id", _MALFORMED_IDS)
    def test_malformed_diff_id_is_refused(self, driver: Any, layer: LayerApply, diff_id: str) -> None:
        before = _census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_apply(LayerApply(diff_id, layer.blob, layer.media_type))
        with pytest.raises(InvalidArgument):
            driver.storage_prepare("c1", (diff_id,))
        with pytest.raises(InvalidArgument):
            driver.storage_remove_layer(diff_id)
        assert _census(driver.root) == before

    # Snapshots

    def test_snapshot_is_listed_mountable_and_removable(
        self, driver: StorageHooks, layer: LayerApply
    ) -> None:
        driver.storage_apply(layer)
        driver.storage_prepare("c1", (layer.diff_id,))
        assert driver.storage_list().snapshots == ("c1",)
        assert driver.storage_mounts("c1")
        assert driver.storage_usage("c1").inodes == 0
        driver.storage_remove("c1")
        driver.storage_remove("c1")
        assert driver.storage_list().snapshots == ()
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_snapshot_exists_already(self, driver: StorageHooks, layer: LayerApply) -> None:
        driver.storage_apply(layer)
        driver.storage_prepare("c1", (layer.diff_id,))
        mounts = driver.storage_mounts("c1")
        with pytest.raises(AlreadyExists):
            driver.storage_prepare("c1", ())
        assert driver.storage_mounts("c1") == mounts

    def test_key_is_free_again_after_removal(self, driver: StorageHooks) -> None:
        for _round in range(3):
            driver.storage_prepare("c1", ())
            driver.storage_remove("c1")
        assert driver.storage_list().snapshots == ()

    def test_snapshot_over_a_missing_layer(self, driver: Any) -> None:
        before = _census(driver.root)
        with pytest.raises(NotFound):
            driver.storage_prepare("c1", (_MISSING,))
        _assert_nothing_left(driver, before)

    def test_unknown_snapshot(self, driver: StorageHooks) -> None:
        with pytest.raises(NotFound):
            driver.storage_mounts("nobody")
        with pytest.raises(NotFound):
            driver.storage_usage("nobody")
        driver.storage_remove("nobody")

    @pytest.mark.parametrize("key", _MALFORMED_KEYS)
    def test_malformed_key_is_refused(self, driver: Any, key: str) -> None:
        before = _census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_prepare(key, ())
        with pytest.raises(InvalidArgument):
            driver.storage_remove(key)
        assert _census(driver.root) == before

    def test_one_of_many_prepares_of_a_key_succeeds(self, driver: StorageHooks) -> None:
        def attempt(_number: int) -> bool:
            try:
                driver.storage_prepare("c1", ())
            except AlreadyExists:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(32))) == 1

    def test_listing_disturbs_no_call_in_flight(self, driver: StorageHooks, tmp_path: Path) -> None:
        stop = threading.Event()

        def keep_listing() -> None:
            while not stop.is_set():
                driver.storage_list()

        thread = threading.Thread(target=keep_listing)
        thread.start()
        try:
            for number in range(20):
                request = LayerTar().file(f"file{number}", b"x" * 1000).store(tmp_path)
                driver.storage_apply(request)
                driver.storage_prepare(f"c{number}", (request.diff_id,))
        finally:
            stop.set()
            thread.join()
        assert len(driver.storage_list().snapshots) == len(driver.storage_list().layers) == 20

    # Crashes and leaks

    def test_next_instance_finds_everything(
        self, driver: StorageHooks, rebuild: Rebuild, layer: LayerApply
    ) -> None:
        usage = driver.storage_apply(layer)
        driver.storage_prepare("c1", (layer.diff_id,))
        create, arguments = rebuild
        other = create(*arguments)
        assert other.storage_list() == StorageList((layer.diff_id,), ("c1",))
        assert other.storage_mounts("c1") == driver.storage_mounts("c1")
        assert other.storage_usage(layer.diff_id) == usage

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_apply_leaves_a_whole_layer_or_nothing(
        self, driver: Any, rebuild: Rebuild, tmp_path: Path, after: float
    ) -> None:
        before = _census(driver.root)
        request = _large_layer(tmp_path)
        _kill_in_call(rebuild, "storage_apply", (request,), after)
        create, arguments = rebuild
        fresh = create(*arguments)
        if fresh.storage_list().layers:
            assert fresh.storage_usage(request.diff_id).inodes == 401
            fresh.storage_remove_layer(request.diff_id)
        _assert_nothing_left(fresh, before)
        assert fresh.storage_apply(request).inodes == 401

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_snapshots_are_whole_or_nothing(self, driver: Any, rebuild: Rebuild, after: float) -> None:
        before = _census(driver.root)
        _kill_in_call(rebuild, "", (), after, target=_churn_snapshots)
        create, arguments = rebuild
        fresh = create(*arguments)
        for key in fresh.storage_list().snapshots:
            assert fresh.storage_mounts(key)
            fresh.storage_remove(key)
        _assert_nothing_left(fresh, before)

    def test_everything_removed_leaves_nothing(self, driver: Any, layer: LayerApply) -> None:
        before = _census(driver.root)
        driver.storage_apply(layer)
        for number in range(10):
            driver.storage_prepare(f"c{number}", (layer.diff_id,))
        for number in range(10):
            driver.storage_remove(f"c{number}")
        driver.storage_remove_layer(layer.diff_id)
        _assert_nothing_left(driver, before)

    def test_descriptors_are_closed(self, driver: Any, layer: LayerApply, tmp_path: Path) -> None:
        driver.storage_apply(layer)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(5):
            with pytest.raises(InvalidArgument):
                driver.storage_apply(LayerTar().file(f"../{number}").store(tmp_path))
            driver.storage_prepare(f"c{number}", (layer.diff_id,))
            driver.storage_usage(f"c{number}")
            driver.storage_remove(f"c{number}")
        _wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors were leaked")

    # What a container sees (these mount, and need root)

    @pytest.mark.root
    def test_mounted_layers_are_stacked(self, driver: StorageHooks, tmp_path: Path) -> None:
        low = LayerTar().directory("etc").file("etc/a", b"low").file("etc/b", b"low").store(tmp_path)
        high = LayerTar().directory("etc").file("etc/b", b"high").file("etc/c", b"high").store(tmp_path)
        with self._mounted(driver, tmp_path, low, high) as root:
            assert [root.read(f"etc/{name}") for name in "abc"] == [b"low", b"high", b"high"]

    @pytest.mark.root
    def test_mounted_whiteouts_hide_lower_layers(self, driver: StorageHooks, tmp_path: Path) -> None:
        low = (
            LayerTar().file("gone").file("kept").file("dir/gone").file("opaque/gone").file("opaque/deep/gone")
        )
        high = LayerTar().whiteout("gone").whiteout("dir").opaque("opaque").file("opaque/new")
        with self._mounted(driver, tmp_path, low.store(tmp_path), high.store(tmp_path)) as root:
            assert set(root.tree()) == {"kept", "opaque", "opaque/new"}

    @pytest.mark.root
    def test_mounted_attributes_are_those_of_the_tar(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = (
            LayerTar()
            .directory("d", mode=0o1770, uid=5, gid=6, mtime=1_500_000_000)
            .file("d/suid", b"x", mode=0o4755, uid=1000, gid=1000, mtime=1_400_000_000)
            .symlink("link", "d/suid", uid=7, gid=7)
            .hardlink("again", "d/suid")
        )
        with self._mounted(driver, tmp_path, layer.store(tmp_path)) as root:
            tree = root.tree()
        directory, suid, link = tree["d"], tree["d/suid"], tree["link"]
        assert (directory["mode"], directory["uid"], directory["gid"], directory["mtime"]) == (
            0o1770,
            5,
            6,
            1_500_000_000,
        )
        assert (suid["mode"], suid["uid"], suid["gid"], suid["mtime"]) == (0o4755, 1000, 1000, 1_400_000_000)
        assert (link["type"], link["link"], link["uid"]) == ("symlink", "d/suid", 7)
        assert (tree["again"]["type"], tree["again"]["nlink"], tree["again"]["mode"]) == ("file", 2, 0o4755)

    @pytest.mark.root
    def test_mounted_snapshot_without_layers_is_empty(self, driver: StorageHooks, tmp_path: Path) -> None:
        with self._mounted(driver, tmp_path) as root:
            assert root.tree() == {}
            root.write("a", b"data")
            assert root.read("a") == b"data"

    @pytest.mark.root
    def test_mounted_writes_stay_in_their_snapshot(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = LayerTar().file("shared", b"image").file("gone", b"image").store(tmp_path)
        driver.storage_apply(layer)
        for key in ("one", "two"):
            driver.storage_prepare(key, (layer.diff_id,))
        with MountedSnapshot(driver.storage_mounts("one"), tmp_path / "one") as root:
            root.write("shared", b"changed")
            root.write("big", b"x" * 100_000)
            root.remove("gone")
        usage = driver.storage_usage("one")
        assert usage.bytes >= 100_000
        assert usage.inodes == 3
        with MountedSnapshot(driver.storage_mounts("two"), tmp_path / "two") as root:
            assert set(root.tree()) == {"shared", "gone"}
            assert root.read("shared") == b"image"
        with MountedSnapshot(driver.storage_mounts("one"), tmp_path / "again") as root:
            assert set(root.tree()) == {"shared", "big"}

    def _mounted(self, driver: StorageHooks, directory: Path, *layers: LayerApply) -> MountedSnapshot:
        for layer in layers:
            driver.storage_apply(layer)
        driver.storage_prepare("mounted", tuple(layer.diff_id for layer in layers))
        return MountedSnapshot(driver.storage_mounts("mounted"), directory / "mounted")


def _census(root: str) -> list[str]:
    """Every path below `root`."""
    return sorted(
        os.path.join(directory, name)
        for directory, names, files in os.walk(root)
        for name in (*names, *files)
    )


def _assert_nothing_left(driver: Any, before: list[str]) -> None:
    """The driver lists nothing, and soon the disk holds what it held."""
    assert driver.storage_list() == StorageList((), ())
    _wait_until(lambda: _census(driver.root) == before, "something was left on the disk")


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def _large_layer(directory: Path) -> LayerApply:
    """A layer that takes a while: 400 files of 50 kB, the same each time."""
    tar = LayerTar().directory("d")
    for number in range(400):
        tar.file(f"d/{number}", hashlib.sha256(b"%d" % number).digest() * 1600)
    return tar.store(directory, "plain")


def _kill_in_call(
    rebuild: Rebuild,
    hook: str,
    arguments: tuple[Any, ...],
    after: float,
    target: Callable[..., None] | None = None,
) -> None:
    """SIGKILL a process `after` seconds into a call of a hook."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=target or _call_hook, args=(rebuild, started, hook, arguments))
    process.start()
    try:
        assert started.wait(_PATIENCE_SECONDS), "the driver could not be made in another process"
        time.sleep(after)
    finally:
        process.kill()
        process.join()
        process.close()


def _call_hook(rebuild: Rebuild, started: Any, hook: str, arguments: tuple[Any, ...]) -> None:
    create, create_arguments = rebuild
    driver = create(*create_arguments)
    started.set()
    getattr(driver, hook)(*arguments)


def _churn_snapshots(rebuild: Rebuild, started: Any, _hook: str, _arguments: tuple[Any, ...]) -> None:
    create, create_arguments = rebuild
    driver = create(*create_arguments)
    started.set()
    for number in range(100_000):
        driver.storage_prepare(f"c{number}", ())
        if number % 2:
            driver.storage_remove(f"c{number}")
