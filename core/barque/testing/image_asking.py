"""Kit tests of kind `image`, capabilities list, describe, search and login."""

from __future__ import annotations

import pytest

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from barque.spi.image import (
    Credentials,
    ImageCapability,
    ImageHooks,
    ImageRequest,
    ImageSearch,
    ResolvedImage,
)
from barque.testing.image_lab import capable

__all__ = ["ImageAsking"]


class ImageAsking:
    """What a source can be asked besides images. The fixtures `found_by` and `account` say with what."""

    @pytest.fixture
    def listed_reference(self, reference: str) -> str:
        """What to list: a repository, an archive."""
        return reference

    @pytest.fixture
    def found_by(self, driver: ImageHooks) -> tuple[str, str]:
        """A term to search for, and a name among what is found."""
        capable(driver, ImageCapability.SEARCH)
        pytest.skip("no fixture `found_by` says what can be searched for")

    @pytest.fixture
    def account(self, driver: ImageHooks) -> tuple[str, Credentials]:
        """A server, and who may log in there."""
        capable(driver, ImageCapability.LOGIN)
        pytest.skip("no fixture `account` says who may log in")

    # Listing

    def test_listed_images_resolve(
        self, driver: ImageHooks, listed_reference: str, platform: Platform
    ) -> None:
        capable(driver, ImageCapability.LIST)
        found = driver.image_list(ImageRequest(listed_reference, platform))
        assert found
        assert len(set(found)) == len(found)
        for reference in found[:5]:
            assert driver.image_resolve(ImageRequest(reference, platform)).layers

    def test_listing_what_is_not_there(
        self, driver: ImageHooks, malformed_reference: str, platform: Platform
    ) -> None:
        capable(driver, ImageCapability.LIST)
        with pytest.raises((InvalidArgument, NotFound)):
            driver.image_list(ImageRequest(malformed_reference, platform))

    def test_listing_cancelled(self, driver: ImageHooks, listed_reference: str, platform: Platform) -> None:
        capable(driver, ImageCapability.LIST)
        with pytest.raises(Unavailable):
            driver.image_list(ImageRequest(listed_reference, platform, cancelled=lambda: True))

    # Describing

    def test_description_is_that_of_the_image(
        self, driver: ImageHooks, image: ResolvedImage, reference: str, platform: Platform
    ) -> None:
        capable(driver, ImageCapability.DESCRIBE)
        found = driver.image_describe(ImageRequest(reference, platform))
        assert found.descriptor.digest == image.repository_digest
        assert found.descriptor.size > 0
        assert (platform.os, platform.architecture) in [(p.os, p.architecture) for p in found.platforms]

    def test_missing_image_has_no_description(
        self, driver: ImageHooks, missing_reference: str, platform: Platform
    ) -> None:
        capable(driver, ImageCapability.DESCRIBE)
        with pytest.raises(NotFound):
            driver.image_describe(ImageRequest(missing_reference, platform))

    # Searching

    def test_search_finds_by_term(self, driver: ImageHooks, found_by: tuple[str, str]) -> None:
        capable(driver, ImageCapability.SEARCH)
        term, name = found_by
        assert name in [result.name for result in driver.image_search(ImageSearch(term))]

    def test_search_gives_no_more_than_asked_for(self, driver: ImageHooks, found_by: tuple[str, str]) -> None:
        capable(driver, ImageCapability.SEARCH)
        assert len(driver.image_search(ImageSearch(found_by[0], limit=1))) == 1

    # Logging in

    def test_login_with_right_credentials(self, driver: ImageHooks, account: tuple[str, Credentials]) -> None:
        capable(driver, ImageCapability.LOGIN)
        server, credentials = account
        assert isinstance(driver.image_login(server, credentials), str)

    def test_login_with_wrong_credentials(self, driver: ImageHooks, account: tuple[str, Credentials]) -> None:
        capable(driver, ImageCapability.LOGIN)
        server, credentials = account
        with pytest.raises(PermissionDenied, match="unauthorized: "):
            driver.image_login(server, Credentials(credentials.username, "not the password"))
