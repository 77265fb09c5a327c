"""Kit tests of kind `image`, capability save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from barque.spi.common import Platform
from barque.spi.errors import NotFound, Unavailable
from barque.spi.image import ImageCapability, ImageHooks, ImageRequest, SavedImage
from barque.testing.image_lab import LARGEST_PIECE, MemoryContent, capable, digest, fetched, small_push

__all__ = ["ImageSaving"]


class ImageSaving:
    """What a source that writes archives must do. The fixture `saved_reference` says how it is asked for one."""

    @pytest.fixture
    def saved_reference(self) -> Callable[[Path], str]:
        """The reference of an archive in a file."""
        return str

    @pytest.fixture
    def saving(self, driver: ImageHooks) -> tuple[tuple[SavedImage, ...], MemoryContent]:
        """Two images with a layer in common, one with two names and one without any; and the layers."""
        capable(driver, ImageCapability.SAVE)
        shared = b"shared layer" * 50_000
        pushes = [small_push("", [shared, own]) for own in (b"first", b"second")]
        names = [("docker.io/library/app:1", "registry.test:5000/team/app:2"), ()]
        images = tuple(
            SavedImage(
                given, p.manifest, p.manifest_type, p.config, p.layers, tuple(d.digest for d in p.layers)
            )
            for p, given in zip(pushes, names, strict=True)
        )
        return images, MemoryContent([shared, b"first", b"second"])

    def test_saved_images_are_listed_and_fetched(
        self,
        driver: Any,
        saving: tuple[tuple[SavedImage, ...], MemoryContent],
        saved_reference: Callable[[Path], str],
        tmp_path: Path,
    ) -> None:
        images, content = saving
        path = tmp_path / "archive"
        path.write_bytes(_saved(driver, images, content))
        request = ImageRequest(saved_reference(path), Platform())
        found = [driver.image_resolve(ImageRequest(r, Platform())) for r in driver.image_list(request)]
        assert {(i.manifest, i.config, i.names) for i in found} == {
            (i.manifest, i.config, i.names) for i in images
        }
        for image in found:
            for layer in image.layers:
                assert digest(fetched(driver, image, layer)) == layer.digest

    def test_saving_twice_gives_the_same_bytes(
        self, driver: ImageHooks, saving: tuple[tuple[SavedImage, ...], MemoryContent]
    ) -> None:
        assert _saved(driver, *saving) == _saved(driver, *saving)

    def test_each_layer_is_saved_once(
        self, driver: ImageHooks, saving: tuple[tuple[SavedImage, ...], MemoryContent]
    ) -> None:
        images, content = saving
        _saved(driver, images, content)
        assert len(content.opened) == len(set(content.opened)) == 3

    def test_missing_content_is_told(
        self, driver: ImageHooks, saving: tuple[tuple[SavedImage, ...], MemoryContent]
    ) -> None:
        with pytest.raises(NotFound):
            _saved(driver, saving[0], MemoryContent())

    def test_error_of_the_writer_passes_unchanged(
        self, driver: ImageHooks, saving: tuple[tuple[SavedImage, ...], MemoryContent]
    ) -> None:
        gone = Unavailable("the client left")

        def write(_: bytes) -> None:
            raise gone

        with pytest.raises(Unavailable) as caught:
            driver.image_save(*saving, write)
        assert caught.value is gone


def _saved(driver: ImageHooks, images: tuple[SavedImage, ...], content: MemoryContent) -> bytes:
    pieces: list[bytes] = []
    driver.image_save(images, content, pieces.append)
    assert max(map(len, pieces)) <= LARGEST_PIECE
    return b"".join(pieces)
