"""Kit tests of kind `image`: layers come whole, go on where they stopped, and leave nothing behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from barque.spi.common import Descriptor, Platform
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from barque.spi.image import ImageHooks, ImageRequest, ResolvedImage
from barque.testing.image_lab import LARGEST_PIECE, MemorySink, digest, fetched, open_descriptors

__all__ = ["ImageFetching"]

_ROUNDS = 5


class ImageFetching:
    """Every source fetches."""

    # Fetching

    def test_layers_come_whole(self, driver: ImageHooks, image: ResolvedImage) -> None:
        for layer in image.layers:
            sink = MemorySink()
            driver.image_fetch(image, layer, sink)
            assert len(sink.data) == layer.size
            assert digest(sink.data) == layer.digest
            assert 0 < sink.largest_piece <= LARGEST_PIECE

    @pytest.mark.parametrize("part", [1, 3, 1000])
    def test_fetch_goes_on_where_it_stopped(
        self, driver: ImageHooks, image: ResolvedImage, part: int
    ) -> None:
        whole = fetched(driver, image, image.layers[0])
        sink = MemorySink(whole[: len(whole) // part if part > 1 else len(whole) - 1])
        driver.image_fetch(image, image.layers[0], sink)
        assert sink.data == whole

    def test_fetch_of_a_complete_blob_changes_nothing(self, driver: ImageHooks, image: ResolvedImage) -> None:
        whole = fetched(driver, image, image.layers[0])
        sink = MemorySink(whole)
        driver.image_fetch(image, image.layers[0], sink)
        assert sink.data == whole

    @pytest.mark.parametrize(
        "error", [InvalidArgument("wrong bytes"), Unavailable("cancelled"), ResourceExhausted("full")]
    )
    def test_error_of_the_sink_passes_unchanged(
        self, driver: ImageHooks, image: ResolvedImage, error: BarqueError
    ) -> None:
        layer = image.layers[0]
        with pytest.raises(type(error)) as caught:
            driver.image_fetch(image, layer, MemorySink(fail_after=layer.size // 2, error=error))
        assert caught.value is error
        assert digest(fetched(driver, image, layer)) == layer.digest

    def test_all_layers_at_once(self, driver: ImageHooks, image: ResolvedImage) -> None:
        wanted = [*image.layers] * 4
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda layer: digest(fetched(driver, image, layer)), wanted))
        assert found == [layer.digest for layer in wanted]

    def test_layer_of_another_image_is_not_found(self, driver: ImageHooks, image: ResolvedImage) -> None:
        stranger = Descriptor(image.layers[0].media_type, f"sha256:{'0' * 64}", 10)
        with pytest.raises(NotFound):
            driver.image_fetch(image, stranger, MemorySink())

    def test_nothing_leaks(self, driver: ImageHooks, reference: str, platform: Platform) -> None:
        def once() -> None:
            image = driver.image_resolve(ImageRequest(reference, platform))
            for layer in image.layers:
                fetched(driver, image, layer)

        once()
        before, threads = open_descriptors(), threading.active_count()
        for _ in range(_ROUNDS):
            once()
        assert open_descriptors() <= before + 1
        assert threading.active_count() <= threads + 1
