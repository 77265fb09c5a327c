"""The part of the storage kit about comparing a layer with its tar.

A driver without the capability `verify` skips these tests. Those that damage a layer look for its files below the driver's root by
their names, and skip where there are none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.storage import LayerApply, StorageCapability
from barque.testing.layers import LayerTar
from barque.testing.storage_lab import MISSING, census

__all__ = ["StorageVerifying"]

_SIZE = 6000


def _content(path: str) -> None:
    """Another byte, and no other sign of it."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(_SIZE // 2)
        file.write(b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _longer(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def _replaced(path: str) -> None:
    os.unlink(path)
    os.symlink("/etc/passwd", path)


_DAMAGES: dict[str, Callable[[str], object]] = {
    "content": _content,
    "size": _longer,
    "mode": lambda path: os.chmod(path, 0o600),
    "time": lambda path: os.utime(path, (1, 1)),
    "gone": os.unlink,
    "type": _replaced,
    "extra": lambda path: Path(f"{path}.extra").write_bytes(b""),
    "attribute": lambda path: os.setxattr(path, "user.new", b"1"),
    "renamed": lambda path: os.rename(path, f"{path}.other"),
}


class StorageVerifying:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    @pytest.mark.root
    def test_layer_of_every_kind_of_file_verifies(
        self, driver: Any, media: tuple[str, ...], tmp_path: Path
    ) -> None:
        _need(driver)
        layer = (
            LayerTar()
            .directory("d", mode=0o1777, uid=3, gid=4, xattrs={"user.d": b"1"})
            .file("d/file", b"data" * 5000, mode=0o4755, uid=3_000_000_000, xattrs={"user.f": bytes(range(1, 99))})
            .hardlink("d/hard", "d/file").symlink("d/link", "../nowhere").fifo("d/fifo").device("d/null", 1, 3)
            .device("d/loop", 7, 0, block=True).file("implicit/deep/file", b"x").file("d/" + "n" * 120)
            .file("twice", b"first").hardlink("first", "twice").file("twice", b"second").directory("became/a")
            .file("became", b"a file").symlink("lib", "usr/lib").directory("usr/lib").file("lib/through", b"a link")
            .file("old", mtime=-5).file("empty").whiteout("gone").whiteout("d/gone").opaque("opaque").file("opaque/x")
            .directory("d", mode=0o700).whiteout("implicit")
        )  # fmt: skip
        for name in media:
            request = layer.store(tmp_path, name)
            driver.storage_apply(request)
            assert driver.storage_verify(request) == ()

    def test_verifying_changes_nothing(self, driver: Any, layer: LayerApply) -> None:
        _need(driver)
        driver.storage_apply(layer)
        before = [(path, os.lstat(path).st_mtime_ns, os.lstat(path).st_mode) for path in census(driver.root)]
        assert driver.storage_verify(layer) == ()
        assert before == [
            (path, os.lstat(path).st_mtime_ns, os.lstat(path).st_mode) for path in census(driver.root)
        ]

    def test_every_damage_is_told_with_its_path(self, driver: Any, tmp_path: Path) -> None:
        _need(driver)
        tar = LayerTar().directory("etc").file("etc/whole", b"hello\n" * 1000)
        for damage in _DAMAGES:
            tar.file(f"etc/{damage}", b"hello\n" * 1000)
        layer = tar.store(tmp_path)
        driver.storage_apply(layer)
        found = [path for path in census(driver.root) if path.endswith("/etc/whole")]
        if not found:
            pytest.skip("the driver does not keep a layer's files under their names")
        directory = os.path.dirname(found[0])
        status = os.stat(directory)
        for damage, do in _DAMAGES.items():
            do(os.path.join(directory, damage))
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
        lines = driver.storage_verify(layer)
        for damage in _DAMAGES:
            assert any(f"/etc/{damage}" in line for line in lines), (damage, lines)
        for name in ("/etc/extra.extra", "/etc/renamed", "/etc/renamed.other"):
            assert any(f'{name}"' in line for line in lines), (name, lines)
        assert not [line for line in lines if "whole" in line or "/etc/" not in line]

    def test_at_most_a_hundred_lines(self, driver: Any, tmp_path: Path) -> None:
        _need(driver)
        tar = LayerTar()
        for number in range(150):
            tar.file(f"d/motd{number:03}", b"x")
        request = tar.store(tmp_path)
        driver.storage_apply(request)
        found = [path for path in census(driver.root) if "/d/motd" in path]
        if not found:
            pytest.skip("the driver does not keep a layer's files under their names")
        for path in found:
            os.chmod(path, 0)
        assert len(driver.storage_verify(request)) == 100

    def test_damaged_tar_is_no_damaged_layer(self, driver: Any, layer: LayerApply) -> None:
        _need(driver)
        driver.storage_apply(layer)
        blob = Path(layer.blob)
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 0xFF
        blob.write_bytes(data)
        with pytest.raises(InvalidArgument):
            driver.storage_verify(layer)

    def test_verifying_a_missing_layer(self, driver: Any, layer: LayerApply) -> None:
        _need(driver)
        with pytest.raises(NotFound):
            driver.storage_verify(LayerApply(MISSING, layer.blob, layer.media_type))


def _need(driver: Any) -> None:
    if StorageCapability.VERIFY not in driver.capabilities:
        pytest.skip("the driver does not have the capability verify")
