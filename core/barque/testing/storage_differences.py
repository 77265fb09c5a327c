"""The part of the storage kit about what a snapshot changed: told as `docker diff` tells it, packed as a layer that makes the same tree.

A driver without the capability `diff` skips these tests. They mount, and need root.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import NotFound
from barque.spi.storage import MOUNTPOINTS, ChangeKind, LayerApply, SnapshotPrepare, StorageCapability
from barque.testing.layers import MEDIA_TYPES, LayerTar
from barque.testing.mounted import MountedSnapshot
from barque.testing.storage_changes import CHANGES, image

__all__ = ["StorageDifferences"]

_LETTERS = {ChangeKind.ADDED: "A", ChangeKind.MODIFIED: "C", ChangeKind.DELETED: "D"}
_OF_ALL_KINDS = r"""
mkdir -p new/deep; echo new > new/deep/file; ln new/deep/file new/again; ln -s deep/file new/link; mkfifo new/fifo
mknod new/char c 5 1; mknod new/block b 7 3; chown 7:8 new/link new/char; chmod 2770 new; chmod 4711 new/deep/file
echo > "$(printf 'new/not-utf8-\377')"; echo > new/$(printf '%0200d' 7); mkdir -p new/$(printf '%090d/%090d' 1 2)
truncate -s 3M new/sparse; printf data | dd of=new/sparse bs=1 seek=1500000 conv=notrunc status=none
chown 3000000000:3000000001 new/again; touch -h -d '2001-02-03 04:05:06.789012345' new/link new/sparse new
rm gone; rm -r rm; rm -r again; mkdir again; echo c > again/c; rm link; mkdir link; echo > link/x
echo more >> kept; echo 1 > dir/.hidden; rm dir/sub/f; touch -d @1234567890 dir
"""
_ATTRIBUTES = """
import os, socket
os.setxattr("new/deep/file", "user.test", bytes(range(256)))
os.setxattr("new/deep", "user.of-a-directory", b"x")
os.setxattr("kept", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
socket.socket(socket.AF_UNIX).bind("new/socket")
"""


class StorageDifferences:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    @pytest.mark.root
    def test_changes_are_those_that_docker_tells(self, driver: Any, tmp_path: Path) -> None:
        with _changed(driver, tmp_path, *image(tmp_path)) as root:
            for number, (script, _expected) in enumerate(CHANGES):
                root.shell(f"cd case{number}; {script}")
        told = [f"{_LETTERS[change.kind]} {change.path}" for change in driver.storage_changes("c1")]
        for number, (script, expected) in enumerate(CHANGES):
            top = f"/case{number}"
            mine = {line for line in told if line[2:] == top or line.startswith((f"{line[0]} {top}/",))}
            wanted = {f"{word[0]} {top}{word[1:]}" for word in expected.split()}
            if wanted and script:
                wanted.add(f"C {top}")
            assert mine == wanted, script
        paths = [line[2:] for line in told]
        assert paths == sorted(paths)
        assert len(paths) == len(set(paths))

    @pytest.mark.root
    def test_committed_tree_is_the_same_tree(self, driver: Any, tmp_path: Path) -> None:
        low = _lower().store(tmp_path)
        with _changed(driver, tmp_path, low) as root:
            root.shell(_OF_ALL_KINDS)
            root.shell(f"{sys.executable} -c '{_ATTRIBUTES}'")
            tree, content, attributes = root.tree(), root.read("new/sparse"), root.xattrs("new/deep/file")
        tar = _diff(driver)
        committed = _stored(tar, tmp_path)
        driver.storage_apply(committed)
        driver.storage_prepare(SnapshotPrepare("c2", (low.diff_id, committed.diff_id)))
        with MountedSnapshot(driver.storage_mounts("c2"), tmp_path / "two") as root:
            assert tree.pop("new/socket")["type"] == "socket"
            assert _comparable(root.tree()) == _comparable(tree)
            assert root.read("new/sparse") == content
            assert _kept(root.xattrs("new/deep/file")) == _kept(attributes)
            assert root.xattrs("new/deep")["user.of-a-directory"] == b"x".hex()
            assert "security.capability" in root.xattrs("kept")
        for entry in tarfile.open(fileobj=io.BytesIO(tar)):
            kept = [name.removeprefix("SCHILY.xattr.") for name in entry.pax_headers if "xattr" in name]
            assert all(name == "security.capability" or name.startswith("user.") for name in kept)
            assert not any("overlay" in name for name in kept)
            assert (entry.uname, entry.gname) == ("", "")

    @pytest.mark.root
    def test_equal_trees_give_equal_bytes(self, driver: Any, tmp_path: Path) -> None:
        low = _lower().store(tmp_path)
        time = "touch -h -d @1111111111 dir/one dir/two dir"
        scripts = (
            f"echo 1 > dir/one; echo 2 > dir/two; rm gone; {time}",
            f"rm gone; echo 2 > dir/two; echo 1 > dir/one; {time}",
        )
        tars = []
        for number, script in enumerate(scripts):
            with _changed(driver, tmp_path, low, key=f"c{number}") as root:
                root.shell(script)
                tars.append(_diff(driver, f"c{number}"))
            assert _diff(driver, f"c{number}") == tars[-1]
        assert tars[0] == tars[1]

    @pytest.mark.root
    def test_untouched_snapshot_has_no_difference(self, driver: Any, tmp_path: Path) -> None:
        with _changed(driver, tmp_path, _lower().store(tmp_path)) as root:
            assert root.read("kept") == b"kept"
        assert driver.storage_changes("c1") == ()
        assert _diff(driver) == bytes(1024)

    @pytest.mark.root
    def test_places_of_the_engines_mounts_are_no_change(self, driver: Any, tmp_path: Path) -> None:
        plain = LayerTar().directory("bin").store(tmp_path)
        other = LayerTar().directory("etc", mode=0o750).directory("dev").store(tmp_path)
        for key, layer in (("c1", plain), ("c2", other)):
            with _changed(driver, tmp_path, layer, key=key) as root:
                for path in MOUNTPOINTS:
                    root.shell(
                        f"mkdir -p {path}"
                        if "/" not in path
                        else f"test -d etc || mkdir -m 755 etc; : > {path}"
                    )
            assert driver.storage_changes(key) == ()
            assert _diff(driver, key) == bytes(1024)
        with MountedSnapshot(driver.storage_mounts("c2"), tmp_path / "c2") as root:
            root.shell("echo mine > etc/hosts; echo > etc/new")
        told = [f"{_LETTERS[change.kind]} {change.path}" for change in driver.storage_changes("c2")]
        assert told == ["C /etc", "A /etc/hosts", "A /etc/new"]
        names = tarfile.open(fileobj=io.BytesIO(_diff(driver, "c2"))).getnames()
        assert names == ["etc", "etc/hosts", "etc/new"]

    @pytest.mark.root
    def test_difference_of_a_snapshot_that_is_written_to(self, driver: Any, tmp_path: Path) -> None:
        with _changed(driver, tmp_path, _lower().store(tmp_path)) as root:
            stop = threading.Event()

            def churn() -> None:
                while not stop.is_set():
                    root.shell(
                        "i=0; while [ $i -lt 60 ]; do mkdir -p x/y$i; echo $i >> x/log; mv x/y$i x/z; rmdir x/z; i=$((i+1)); done"
                    )

            root.shell("mkdir -p x; : > x/log")
            thread = threading.Thread(target=churn)
            thread.start()
            try:
                for _attempt in range(8):
                    driver.storage_changes("c1")
                    with tarfile.open(fileobj=io.BytesIO(_diff(driver))) as tar:
                        assert "x/log" in tar.getnames()
            finally:
                stop.set()
                thread.join()

    @pytest.mark.root
    def test_what_the_reader_raises_passes(self, driver: Any, tmp_path: Path) -> None:
        with _changed(driver, tmp_path, _lower().store(tmp_path)) as root:
            root.shell("dd if=/dev/zero of=big bs=1M count=8 status=none")
        taken: list[int] = []

        def full(data: bytes) -> None:
            taken.append(len(data))
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            driver.storage_diff("c1", full)
        assert len(taken) == 1
        assert len(_diff(driver)) > 8 << 20

    def test_difference_of_an_unknown_snapshot(self, driver: Any) -> None:
        _need(driver)
        with pytest.raises(NotFound):
            driver.storage_changes("nobody")
        with pytest.raises(NotFound):
            driver.storage_diff("nobody", lambda _: None)


def _need(driver: Any) -> None:
    if StorageCapability.DIFF not in driver.capabilities:
        pytest.skip("the driver does not have the capability diff")


def _lower() -> LayerTar:
    return (
        LayerTar()
        .file("gone").file("kept", b"kept").file("rm/a").file("rm/deep/b")
        .directory("again").file("again/a").file("again/b").symlink("link", "dir")
        .directory("dir", mode=0o711, uid=3).directory("dir/sub").file("dir/sub/f")
    )  # fmt: skip


def _changed(driver: Any, directory: Path, *layers: LayerApply, key: str = "c1") -> MountedSnapshot:
    """A snapshot over `layers`, mounted to be changed."""
    _need(driver)
    for layer in layers:
        driver.storage_apply(layer)
    driver.storage_prepare(SnapshotPrepare(key, tuple(layer.diff_id for layer in layers)))
    return MountedSnapshot(driver.storage_mounts(key), directory / key)


def _diff(driver: Any, key: str = "c1") -> bytes:
    pieces: list[bytes] = []
    driver.storage_diff(key, pieces.append)
    return b"".join(pieces)


def _stored(tar: bytes, directory: Path) -> LayerApply:
    path = directory / "committed.tar"
    path.write_bytes(tar)
    return LayerApply(f"sha256:{hashlib.sha256(tar).hexdigest()}", str(path), MEDIA_TYPES["plain"])


def _comparable(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without what a file system decides: sizes and link counts of directories."""
    for entry in tree.values():
        if entry["type"] == "directory":
            del entry["size"], entry["nlink"]
    return tree


def _kept(attributes: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if name.startswith("user.test")}
