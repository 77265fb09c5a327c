"""Kit tests of kind `image`: what resolves, and what does not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from barque.spi.common import Platform, Probe, Progress
from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.spi.image import ImageHooks, ImageRequest, ResolvedImage
from barque.testing.image_lab import digest

__all__ = ["ImageResolving"]


class ImageResolving:
    """Every source resolves."""

    # Resolving

    def test_probe_answers_and_finds_this_host_usable(self, driver: ImageHooks) -> None:
        answer = driver.image_probe()
        assert isinstance(answer, Probe)
        assert answer.usable, answer.problems

    def test_manifest_names_config_and_layers(self, image: ResolvedImage) -> None:
        manifest = json.loads(image.manifest)
        assert manifest["config"]["digest"] == digest(image.config)
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
