"""Kit tests of kind `image`, capability push: what was pushed is there, as it was."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from barque.spi.common import Platform, Progress
from barque.spi.errors import InvalidArgument, Unavailable
from barque.spi.image import ImageCapability, ImageHooks, ImagePush, ImageRequest
from barque.testing.image_lab import MemoryContent, capable, digest, fetched, small_push

__all__ = ["ImagePushing"]


class ImagePushing:
    """A source that takes images. The fixture `push_reference` is where tests may push to."""

    @pytest.fixture
    def push_reference(self, driver: ImageHooks) -> str:
        """A canonical reference with a tag that tests may push to."""
        capable(driver, ImageCapability.PUSH)
        pytest.skip("no fixture `push_reference` says where to push to")

    @pytest.fixture
    def pushing(self, driver: ImageHooks, push_reference: str) -> ImagePush:
        """An image of two layers nobody has yet."""
        capable(driver, ImageCapability.PUSH)
        return small_push(push_reference, [os.urandom(300_000), os.urandom(1000)])

    def test_pushed_image_resolves_and_fetches(self, driver: ImageHooks, pushing: ImagePush) -> None:
        stored = driver.image_push(pushing)
        assert stored.digest == digest(pushing.manifest)
        assert (stored.size, stored.media_type) == (len(pushing.manifest), pushing.manifest_type)
        image = driver.image_resolve(ImageRequest(pushing.reference, Platform()))
        assert (image.manifest, image.config, image.manifest_type) == (
            pushing.manifest,
            pushing.config,
            pushing.manifest_type,
        )
        for layer in image.layers:
            assert digest(fetched(driver, image, layer)) == layer.digest

    def test_pushing_twice_sends_layers_once(self, driver: ImageHooks, pushing: ImagePush) -> None:
        first = driver.image_push(pushing)
        content = MemoryContent()
        lines: list[Progress] = []
        again = replace(pushing, content=content, progress=lines.append)
        assert driver.image_push(again) == first
        assert content.opened == []
        assert {line.status for line in lines} >= {"Preparing", "Layer already exists"}

    def test_pushes_side_by_side(self, driver: ImageHooks, pushing: ImagePush) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(driver.image_push, [pushing] * 4))
        assert {descriptor.digest for descriptor in found} == {digest(pushing.manifest)}

    def test_progress_tells_each_layer_to_its_end(self, driver: ImageHooks, pushing: ImagePush) -> None:
        lines: list[Progress] = []
        driver.image_push(replace(pushing, progress=lines.append))
        last = {line.id: line.status for line in lines if line.id}
        assert len(last) == len(pushing.layers)
        assert set(last.values()) == {"Pushed"}
        assert max(line.current for line in lines) == max(layer.size for layer in pushing.layers)

    def test_error_of_the_content_passes_unchanged(self, driver: ImageHooks, pushing: ImagePush) -> None:
        error = InvalidArgument(f"content {pushing.layers[0].digest} is damaged")
        content = pushing.content
        assert isinstance(content, MemoryContent)
        content.error, content.fail_after = error, 200_000
        with pytest.raises(InvalidArgument) as caught:
            driver.image_push(pushing)
        assert caught.value is error
        content.error = None
        assert driver.image_push(pushing).digest == digest(pushing.manifest)

    def test_push_cancelled_before_it_began(self, driver: ImageHooks, pushing: ImagePush) -> None:
        with pytest.raises(Unavailable):
            driver.image_push(replace(pushing, cancelled=lambda: True))

    def test_push_by_digest_is_refused(self, driver: ImageHooks, pushing: ImagePush) -> None:
        repository = pushing.reference.rpartition(":")[0]
        with pytest.raises(InvalidArgument):
            driver.image_push(replace(pushing, reference=f"{repository}@{digest(pushing.manifest)}"))
