"""The built-in image sources pass the conformance kit of kind `image`."""

from __future__ import annotations

import os

import pytest

from barque.spi.common import Platform
from barque.spi.errors import BarqueError
from barque.spi.image import Credentials, ImageRequest
from barque.testing import need
from barque.testing.image import ImageConformance
from barque.testing.registry import FaultyRegistry, Tokens
from barque_image_deb.plugin import DebImages
from barque_image_registry.plugin import RegistryImages


class TestRegistryImages(ImageConformance):
    @pytest.fixture
    def registry(self):
        with FaultyRegistry() as registry:
            registry.add_image("team/app", "1", [os.urandom(700_000), b"second layer" * 1000])
            yield registry

    @pytest.fixture
    def driver(self, registry, tmp_path):
        driver = RegistryImages("registry", RegistryImages.Config(), str(tmp_path))
        yield driver
        driver.close()

    @pytest.fixture
    def reference(self, registry):
        return f"{registry.address}/team/app:1"

    @pytest.fixture
    def missing_reference(self, registry):
        return f"{registry.address}/team/app:2"

    @pytest.fixture
    def push_reference(self, registry):
        return f"{registry.address}/pushed/app:1"

    @pytest.fixture
    def found_by(self, registry):
        return f"{registry.address}/app", f"{registry.address}/team/app"

    @pytest.fixture
    def account(self):
        with FaultyRegistry(tokens=Tokens(username="user", password="secret")) as registry:
            yield registry.address, Credentials("user", "secret")


@pytest.fixture(scope="module")
def deb_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("deb")
    try:
        DebImages("deb", DebImages.Config(), root).image_resolve(ImageRequest("busybox-static", Platform()))
    except BarqueError as error:
        need.unavailable(f"needs apt and a mirror: {error}")
    return root


class TestDebImages(ImageConformance):
    @pytest.fixture
    def driver(self, deb_root):
        return DebImages("deb", DebImages.Config(), deb_root)

    @pytest.fixture
    def reference(self):
        return "busybox-static"


def test_a_test_of_the_kit_cannot_be_replaced():
    with pytest.raises(TypeError, match="test_nothing_leaks"):
        type("Cheat", (ImageConformance,), {"test_nothing_leaks": None})
