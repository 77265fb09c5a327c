"""Archives and layouts pass the conformance kit of kind `image`, in each form they come in."""

from __future__ import annotations

import os

import pytest

from barque.testing.archives import ArchivedImage, docker_archive, oci_layout, tar_of, write_directory
from barque.testing.image import ImageConformance
from barque.testing.layers import LayerTar, compress
from barque_image_archive.oci import OciLayoutImages
from barque_image_archive.plugin import DockerArchiveImages


@pytest.fixture(scope="module")
def two_layers():
    return ArchivedImage(
        [
            LayerTar().file("random", os.urandom(700_000)).content(),
            LayerTar().directory("etc").file("etc/motd", b"hello").content(),
        ]
    )


class _Archives(ImageConformance):
    """Everything but the archive itself."""

    @pytest.fixture
    def driver(self, tmp_path):
        return DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(tmp_path))

    @pytest.fixture
    def missing_reference(self, tmp_path):
        return str(tmp_path / "no-such-file.tar")

    @pytest.fixture
    def malformed_reference(self, reference):
        return f"{reference}#Not A Reference"


class TestOldDockerArchive(_Archives):
    @pytest.fixture
    def reference(self, two_layers, tmp_path):
        path = tmp_path / "old.tar"
        path.write_bytes(tar_of(docker_archive({"app:1": two_layers})))
        return str(path)


class TestOciArchive(_Archives):
    @pytest.fixture
    def reference(self, two_layers, tmp_path):
        path = tmp_path / "oci.tar"
        entry = two_layers.entry(name="docker.io/library/app:1")
        path.write_bytes(tar_of(oci_layout([entry], [two_layers])))
        return str(path)


class TestCompressedArchive(_Archives):
    @pytest.fixture
    def reference(self, two_layers, tmp_path):
        path = tmp_path / "old.tar.zst"
        path.write_bytes(compress(tar_of(docker_archive({"app:1": two_layers})), "zstd"))
        return str(path)


class TestOciLayout(ImageConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        return OciLayoutImages("oci", OciLayoutImages.Config(), str(tmp_path))

    @pytest.fixture
    def reference(self, two_layers, tmp_path):
        entry = two_layers.entry("registry.test/app:1")
        return str(write_directory(oci_layout([entry], [two_layers]), tmp_path / "layout"))

    @pytest.fixture
    def missing_reference(self, tmp_path):
        return f"{tmp_path}/no-such-layout:1"

    @pytest.fixture
    def malformed_reference(self, reference):
        return f"{reference}:Not A Reference"
