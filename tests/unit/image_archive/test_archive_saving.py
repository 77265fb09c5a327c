"""What `image_save` writes. That docker, podman and skopeo read it is shown in tests/e2e/test_images_archives.py."""

import hashlib
import io
import json
import tarfile

import pytest

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.spi.image import ImageRequest, SavedImage
from barque.testing.archives import ArchivedImage
from barque.testing.image import MemoryContent, MemorySink
from barque.testing.layers import LayerTar
from barque_image_archive import saving
from barque_image_archive.plugin import DockerArchiveImages

OCI = "application/vnd.oci.image.manifest.v1+json"


def stored(image, *names):
    layers = tuple(
        Descriptor(item["mediaType"], item["digest"], item["size"])
        for item in json.loads(image.manifest)["layers"]
    )
    diff_ids = tuple(f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in image.layers)
    return SavedImage(names, image.manifest, OCI, image.config, layers, diff_ids)


@pytest.fixture
def images():
    shared = LayerTar().file("shared", b"s" * 300_000).content()
    return [ArchivedImage([shared, LayerTar().file(name, b"x").content()]) for name in ("a", "b")]


@pytest.fixture
def content(images):
    return MemoryContent(blob for image in images for blob in image.blobs.values())


@pytest.fixture
def driver(tmp_path):
    return DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(tmp_path))


def saved(driver, content, *images):
    out = io.BytesIO()
    driver.image_save(images, content, out.write)
    return out.getvalue()


def test_what_is_saved_is_read_again(driver, content, images, tmp_path):
    names = ("docker.io/library/a:1", "registry.test:5000/team/a:2")
    path = tmp_path / "a.tar"
    path.write_bytes(saved(driver, content, stored(images[0], *names), stored(images[1])))
    one, two = (
        driver.image_resolve(ImageRequest(r, Platform()))
        for r in driver.image_list(ImageRequest(str(path), Platform()))
    )
    assert (one.manifest, one.config, one.names) == (images[0].manifest, images[0].config, names)
    assert (two.manifest, two.config, two.names) == (images[1].manifest, images[1].config, ())
    for found, image in ((one, images[0]), (two, images[1])):
        for layer in found.layers:
            sink = MemorySink()
            driver.image_fetch(found, layer, sink)
            assert sink.data == image.blobs[layer.digest]


def test_each_blob_once_sorted_of_time_0(driver, content, images):
    archive = saved(driver, content, *(stored(image, "docker.io/library/a:1") for image in images))
    members = tarfile.open(fileobj=io.BytesIO(archive)).getmembers()
    names = [member.name for member in members]
    blobs = [name for name in names if name.startswith("blobs/sha256/")]
    assert len(names) == len(set(names))
    assert blobs == sorted(blobs)
    assert len(blobs) == 7
    assert {(m.mtime, m.uid, m.gid) for m in members} == {(0, 0, 0)}
    assert archive == saved(driver, content, *(stored(image, "docker.io/library/a:1") for image in images))


def test_documents(driver, content, images):
    archive = saved(
        driver, content, stored(images[0], "docker.io/library/a:1", "docker.io/team/a:2"), stored(images[1])
    )
    tar = tarfile.open(fileobj=io.BytesIO(archive))
    index = json.load(tar.extractfile("index.json"))
    assert [entry.get("annotations") for entry in index["manifests"]] == [
        {"io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"},
        {"io.containerd.image.name": "docker.io/team/a:2", "org.opencontainers.image.ref.name": "2"},
        None,
    ]
    assert [entry["digest"] for entry in index["manifests"]] == [
        images[0].digest,
        images[0].digest,
        images[1].digest,
    ]
    manifest = json.load(tar.extractfile("manifest.json"))
    assert [entry["RepoTags"] for entry in manifest] == [["a:1", "team/a:2"], None]
    assert all(tar.extractfile(path) for entry in manifest for path in (entry["Config"], *entry["Layers"]))


@pytest.mark.row("R24")
def test_missing_or_damaged_content_is_told_by_digest(driver, content, images):
    image = stored(images[0])
    digest = image.layers[0].digest
    blob = content.blobs.pop(digest)
    with pytest.raises(NotFound, match=digest):
        saved(driver, content, image)
    for wrong in (blob[:-1], blob + b"x"):
        content.blobs[digest] = wrong
        with pytest.raises(InvalidArgument, match=digest):
            saved(driver, content, image)


def test_errors_of_reader_and_writer_pass(driver, content, images):
    image = stored(images[0])
    gone = Unavailable("the client left")

    def write(_):
        raise gone

    with pytest.raises(Unavailable) as caught:
        driver.image_save((image,), content, write)
    assert caught.value is gone


def test_sizes_beyond_octal_digits():
    header = saving._header("a", 20 << 30, b"0")
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 20 << 30
