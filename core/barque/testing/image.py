"""The conformance kit of kind `image`: subclass, give two fixtures, and your image source is proven.

    class TestMyImages(ImageConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyImages("mine", MyImages.Config(), str(tmp_path))

        @pytest.fixture
        def reference(self):
            return "something:small"

`missing_reference`, `malformed_reference` and `absent_platform` have answers that suit most sources; override them where
they do not. A subclass may add tests; it may not replace or remove one of the kit.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from barque.spi.common import Descriptor, Platform, Probe, Progress
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from barque.spi.image import ImageHooks, ImageRequest, ResolvedImage

__all__ = ["ImageConformance", "MemorySink"]

_LARGEST_PIECE = 8 << 20
_ROUNDS = 5


class MemorySink:
    """A `BlobSink` that keeps what it gets. `begun` is there from the start; `fail_after` bytes it raises `error`."""

    def __init__(
        self, begun: bytes | bytearray = b"", fail_after: int = -1, error: BarqueError | None = None
    ) -> None:
        self.data = bytearray(begun)
        self.restarts = 0
        self.largest_piece = 0
        self._fail_after = fail_after
        self._error = error

    @property
    def offset(self) -> int:
        return len(self.data)

    def restart(self) -> None:
        self.restarts += 1
        self.data.clear()

    def write(self, data: bytes | memoryview, /) -> None:
        if self._error is not None and len(self.data) + len(data) > self._fail_after:
            raise self._error
        self.largest_piece = max(self.largest_piece, len(data))
        self.data += data


class ImageConformance:
    """What every image source must do. See the contract, `barque.spi.image`."""

    def __init_subclass__(cls) -> None:
        replaced = sorted(
            name for name in vars(cls) if name.startswith("test_") and hasattr(ImageConformance, name)
        )
        if replaced:
            raise TypeError(
                f"{cls.__name__} replaces {replaced[0]}: a test of the conformance kit cannot be left out"
            )

    @pytest.fixture
    def driver(self) -> ImageHooks:
        """The driver under test."""
        raise NotImplementedError("a subclass of ImageConformance provides the fixture `driver`")

    @pytest.fixture
    def reference(self) -> str:
        """An image the driver finds, with at least one layer."""
        raise NotImplementedError("a subclass of ImageConformance provides the fixture `reference`")

    @pytest.fixture
    def platform(self) -> Platform:
        """A platform the image has."""
        return Platform()

    @pytest.fixture
    def missing_reference(self) -> str:
        """A well-formed reference to no image."""
        return "no-such-image-anywhere"

    @pytest.fixture
    def malformed_reference(self) -> str:
        """What no image can be called."""
        return "Not A Reference"

    @pytest.fixture
    def absent_platform(self) -> Platform:
        """A platform that the image is not there for."""
        return Platform("plan9", "vax")

    @pytest.fixture
    def image(self, driver: ImageHooks, reference: str, platform: Platform) -> ResolvedImage:
        """The image, resolved."""
        return driver.image_resolve(ImageRequest(reference, platform))

    # Resolving

    def test_probe_answers_and_finds_this_host_usable(self, driver: ImageHooks) -> None:
        answer = driver.image_probe()
        assert isinstance(answer, Probe)
        assert answer.usable, answer.problems

    def test_manifest_names_config_and_layers(self, image: ResolvedImage) -> None:
        manifest = json.loads(image.manifest)
        assert manifest["config"]["digest"] == _digest(image.config)
        assert manifest["config"]["size"] == len(image.config)
        assert [(item["digest"], item["size"]) for item in manifest["layers"]] == [
            (d.digest, d.size) for d in image.layers
        ]
        assert manifest.get("mediaType", image.manifest_type) == image.manifest_type

    def test_config_has_a_diff_id_for_each_layer(self, image: ResolvedImage, platform: Platform) -> None:
        config = json.loads(image.config)
        assert len(config["rootfs"]["diff_ids"]) == len(image.layers) > 0
        assert config["os"] == platform.os

    def test_name_is_canonical(
        self, driver: ImageHooks, image: ResolvedImage, reference: str, platform: Platform
    ) -> None:
        assert image.name
        again = driver.image_resolve(ImageRequest(reference, platform))
        assert again.name == image.name

    def test_resolving_twice_gives_the_same_image(
        self, driver: ImageHooks, image: ResolvedImage, reference: str, platform: Platform
    ) -> None:
        again = driver.image_resolve(ImageRequest(reference, platform))
        assert (again.manifest, again.config, again.layers) == (image.manifest, image.config, image.layers)
        assert again.repository_digest == image.repository_digest

    def test_repository_digest_is_a_digest_or_empty(self, image: ResolvedImage) -> None:
        algorithm, _, value = image.repository_digest.partition(":")
        assert not image.repository_digest or (algorithm == "sha256" and len(value) == 64)

    def test_progress_is_progress(self, driver: ImageHooks, reference: str, platform: Platform) -> None:
        lines: list[Progress] = []
        driver.image_resolve(ImageRequest(reference, platform, progress=lines.append))
        assert all(isinstance(line, Progress) and line.status for line in lines)

    def test_many_resolve_at_once(self, driver: ImageHooks, reference: str, platform: Platform) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(driver.image_resolve, [ImageRequest(reference, platform)] * 8))
        assert len({image.manifest for image in found}) == 1

    # What cannot be resolved

    def test_missing_image_is_not_found(
        self, driver: ImageHooks, missing_reference: str, platform: Platform
    ) -> None:
        with pytest.raises(NotFound):
            driver.image_resolve(ImageRequest(missing_reference, platform))

    def test_malformed_reference_is_refused(
        self, driver: ImageHooks, malformed_reference: str, platform: Platform
    ) -> None:
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            driver.image_resolve(ImageRequest(malformed_reference, platform))

    def test_absent_platform_is_not_found(
        self, driver: ImageHooks, reference: str, absent_platform: Platform
    ) -> None:
        with pytest.raises(NotFound):
            driver.image_resolve(ImageRequest(reference, absent_platform))

    def test_cancelled_before_it_began(self, driver: ImageHooks, reference: str, platform: Platform) -> None:
        with pytest.raises(Unavailable):
            driver.image_resolve(ImageRequest(reference, platform, cancelled=lambda: True))
        assert driver.image_resolve(ImageRequest(reference, platform)).layers

    # Fetching

    def test_layers_come_whole(self, driver: ImageHooks, image: ResolvedImage) -> None:
        for layer in image.layers:
            sink = MemorySink()
            driver.image_fetch(image, layer, sink)
            assert len(sink.data) == layer.size
            assert _digest(sink.data) == layer.digest
            assert 0 < sink.largest_piece <= _LARGEST_PIECE

    @pytest.mark.parametrize("part", [1, 3, 1000])
    def test_fetch_goes_on_where_it_stopped(
        self, driver: ImageHooks, image: ResolvedImage, part: int
    ) -> None:
        whole = _fetched(driver, image, image.layers[0])
        sink = MemorySink(whole[: len(whole) // part if part > 1 else len(whole) - 1])
        driver.image_fetch(image, image.layers[0], sink)
        assert sink.data == whole

    def test_fetch_of_a_complete_blob_changes_nothing(self, driver: ImageHooks, image: ResolvedImage) -> None:
        whole = _fetched(driver, image, image.layers[0])
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
        assert _digest(_fetched(driver, image, layer)) == layer.digest

    def test_all_layers_at_once(self, driver: ImageHooks, image: ResolvedImage) -> None:
        wanted = [*image.layers] * 4
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda layer: _digest(_fetched(driver, image, layer)), wanted))
        assert found == [layer.digest for layer in wanted]

    def test_layer_of_another_image_is_not_found(self, driver: ImageHooks, image: ResolvedImage) -> None:
        stranger = Descriptor(image.layers[0].media_type, f"sha256:{'0' * 64}", 10)
        with pytest.raises(NotFound):
            driver.image_fetch(image, stranger, MemorySink())

    def test_nothing_leaks(self, driver: ImageHooks, reference: str, platform: Platform) -> None:
        def once() -> None:
            image = driver.image_resolve(ImageRequest(reference, platform))
            for layer in image.layers:
                _fetched(driver, image, layer)

        once()
        before, threads = _descriptors(), threading.active_count()
        _repeat(once, _ROUNDS)
        assert _descriptors() <= before + 1
        assert threading.active_count() <= threads + 1


def _fetched(driver: ImageHooks, image: ResolvedImage, layer: Descriptor) -> bytearray:
    sink = MemorySink()
    driver.image_fetch(image, layer, sink)
    return sink.data


def _digest(data: Any) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _repeat(action: Callable[[], None], times: int) -> None:
    for _ in range(times):
        action()
