"""The conformance kit of kind `image`: subclass, give two fixtures, and your image source is proven.

    class TestMyImages(ImageConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyImages("mine", MyImages.Config(), str(tmp_path))

        @pytest.fixture
        def reference(self):
            return "something:small"

`missing_reference`, `malformed_reference` and `absent_platform` have answers that suit most sources; override them where
they do not. What a source can do beyond resolving and fetching is tested when it declares the capability and the subclass says with what:
`push_reference`, `listed_reference`, `found_by`, `account`. A subclass may add tests; it may not replace or remove one of the kit.
"""

from __future__ import annotations

import pytest

from barque.spi.common import Platform
from barque.spi.image import ImageHooks, ImageRequest, ResolvedImage
from barque.testing.image_asking import ImageAsking
from barque.testing.image_fetching import ImageFetching
from barque.testing.image_lab import MemoryContent, MemorySink, small_push
from barque.testing.image_pushing import ImagePushing
from barque.testing.image_resolving import ImageResolving
from barque.testing.image_saving import ImageSaving
from barque.testing.kit import Conformance

__all__ = ["ImageConformance", "MemoryContent", "MemorySink", "small_push"]


class ImageConformance(ImageResolving, ImageFetching, ImagePushing, ImageSaving, ImageAsking, Conformance):
    """What every image source must do. See the contract, `barque.spi.image`."""

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
