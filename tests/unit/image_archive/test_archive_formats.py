"""What is found in archives and layouts, whoever wrote them."""

import gzip
import json
import os

import pytest

from barque.spi import Platform
from barque.spi.errors import InvalidArgument, NotFound, ResourceExhausted
from barque.spi.image import ImageRequest
from barque.testing.archives import ArchivedImage, docker_archive, index, oci_layout, tar_of, write_directory
from barque.testing.image import MemorySink
from barque.testing.layers import LayerTar, compress
from barque_image_archive.oci import OciLayoutImages
from barque_image_archive.plugin import DockerArchiveImages

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
ANY = Platform("", "")


def layer(name):
    return LayerTar().file(name, name.encode()).content()


@pytest.fixture
def archives(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(root))


@pytest.fixture
def layouts(tmp_path):
    return OciLayoutImages("oci", OciLayoutImages.Config(), str(tmp_path))


def write(path, data):
    path.write_bytes(data)
    return str(path)


def resolve(driver, reference, platform=AMD64):
    return driver.image_resolve(ImageRequest(reference, platform))


def listed(driver, reference):
    return driver.image_list(ImageRequest(reference, AMD64))


def fetched(driver, image):
    contents = []
    for descriptor in image.layers:
        sink = MemorySink()
        driver.image_fetch(image, descriptor, sink)
        contents.append(bytes(sink.data))
    return contents


def test_old_docker_archive(archives, tmp_path):
    image = ArchivedImage([layer("a"), layer("b")])
    path = write(tmp_path / "a.tar", tar_of(docker_archive({"app:1,registry.test/team/app:2": image})))
    found = resolve(archives, path)
    assert found.names == ("docker.io/library/app:1", "registry.test/team/app:2")
    assert found.name == found.names[0]
    assert found.config == image.config
    assert fetched(archives, found) == image.layers
    assert found.manifest_type == json.loads(found.manifest)["mediaType"]


def test_layers_that_are_links_to_one_another(archives, tmp_path):
    """As `docker save` of old wrote images that share a layer, and skopeo every one."""
    image = ArchivedImage([layer("a")])
    files = docker_archive({"app:1": image})
    (name,) = (n for n in files if n.endswith("layer.tar"))
    files["shared.tar"] = files.pop(name)
    path = write(tmp_path / "a.tar", tar_of(files, {name: "../shared.tar"}))
    assert fetched(archives, resolve(archives, path)) == image.layers


def test_compressed_layers_get_their_own_digests(archives, tmp_path):
    image = ArchivedImage([layer("a"), layer("b")])
    files = docker_archive({"app:1": image})
    packed = {
        n: compress(files[n], "gzip" if n < max(files) else "zstd") for n in files if n.endswith(".tar")
    }
    found = resolve(archives, write(tmp_path / "a.tar", tar_of({**files, **packed})))
    assert fetched(archives, found) == [packed[n] for n in json.loads(files["manifest.json"])[0]["Layers"]]
    assert {d.media_type.rpartition(".")[2] for d in found.layers} <= {"gzip", "zstd"}


def test_oci_archive_keeps_the_manifest(archives, tmp_path):
    image = ArchivedImage([layer("a")], "zstd")
    path = write(
        tmp_path / "a.tar", tar_of(oci_layout([image.entry("1", "docker.io/library/app:1")], [image]))
    )
    found = resolve(archives, path)
    assert (found.manifest, found.config) == (image.manifest, image.config)
    assert found.names == ("docker.io/library/app:1",)
    assert [image.blobs[d.digest] for d in found.layers] == fetched(archives, found)


def test_both_forms_in_one_file_are_one_image(archives, tmp_path):
    """Docker 25 and later, and Barque: index.json gives the manifest, manifest.json its names too."""
    image = ArchivedImage([layer("a")])
    files = {
        **docker_archive({"more:2": image}),
        **oci_layout([image.entry(name="docker.io/library/app:1")], [image]),
    }
    path = write(tmp_path / "a.tar", tar_of(files))
    assert listed(archives, path) == (f"{path}#0",)
    found = resolve(archives, path)
    assert found.names == ("docker.io/library/app:1", "docker.io/library/more:2")
    assert found.manifest == image.manifest


def test_what_only_manifest_json_lists_is_there_too(archives, tmp_path):
    """`docker save` of an image without a name beside one with a name leaves the first out of index.json."""
    one, two = ArchivedImage([layer("a")]), ArchivedImage([layer("b")])
    files = {**docker_archive({"": two}), **oci_layout([one.entry(name="docker.io/library/app:1")], [one])}
    path = write(tmp_path / "a.tar", tar_of(files))
    assert [resolve(archives, r).config for r in listed(archives, path)] == [one.config, two.config]


def test_several_images(archives, tmp_path):
    one, two = ArchivedImage([layer("a")]), ArchivedImage([layer("b")])
    path = write(tmp_path / "a.tar", tar_of(docker_archive({"one:1": one, "": two})))
    assert listed(archives, path) == (f"{path}#0", f"{path}#1")
    assert [resolve(archives, r).names for r in listed(archives, path)] == [("docker.io/library/one:1",), ()]
    assert resolve(archives, f"{path}#one:1").config == one.config
    assert listed(archives, f"{path}#one:1") == (f"{path}#one:1",)
    with pytest.raises(InvalidArgument, match=r"has 2 images: docker\.io/library/one:1, number 1"):
        resolve(archives, path)
    for selector in ("2", "two:1"):
        with pytest.raises(NotFound):
            resolve(archives, f"{path}#{selector}")


def test_a_name_with_a_hash_mark_is_a_file_first(archives, tmp_path):
    image = ArchivedImage([layer("a")])
    path = write(tmp_path / "a#0", tar_of(docker_archive({"app:1": image})))
    assert resolve(archives, path).config == image.config
    assert resolve(archives, f"{path}#0").config == image.config


@pytest.mark.parametrize("nested", [False, True])
def test_platforms_of_an_index(archives, tmp_path, nested):
    amd64, arm64 = (ArchivedImage([layer("a")], platform=p) for p in (AMD64, ARM64))
    attestation = {**arm64.entry(), "platform": {"os": "unknown", "architecture": "unknown"}}
    inner = index([attestation, amd64.entry(platform=AMD64), arm64.entry(platform=ARM64)])
    entry = _entry(inner)
    middle = index([entry])
    blobs = [inner, middle] if nested else [inner]
    top = {
        **(_entry(middle) if nested else entry),
        "annotations": {"io.containerd.image.name": "docker.io/library/app:1"},
    }
    path = write(tmp_path / "a.tar", tar_of(oci_layout([top], [amd64, arm64], *blobs)))
    assert resolve(archives, path, AMD64).config == amd64.config
    assert resolve(archives, path, ARM64).config == arm64.config
    assert resolve(archives, path, ANY).config == amd64.config
    with pytest.raises(NotFound) as caught:
        resolve(archives, path, Platform("linux", "s390x"))
    assert "linux/arm64" in caught.value.hint


def test_an_index_of_which_a_part_is_there(archives, tmp_path):
    """`docker save` from the containerd store keeps the index of all platforms with the blobs of one."""
    amd64, arm64 = (ArchivedImage([layer("a")], platform=p) for p in (AMD64, ARM64))
    inner = index([arm64.entry(platform=ARM64), amd64.entry(platform=AMD64)])
    path = write(tmp_path / "a.tar", tar_of(oci_layout([_entry(inner)], [amd64], inner)))
    assert resolve(archives, path, AMD64).config == amd64.config
    with pytest.raises(NotFound):
        resolve(archives, path, Platform("linux", "s390x"))


def _entry(document):
    import hashlib

    digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
    return {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": len(document)}


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: compress(data, "zstd")])
def test_compressed_archive_leaves_nothing_behind(archives, tmp_path, pack):
    image = ArchivedImage([layer("a")])
    path = write(tmp_path / "a", pack(tar_of(docker_archive({"app:1": image}))))
    assert fetched(archives, resolve(archives, path)) == image.layers
    assert os.listdir(tmp_path / "root") == ["jail"]


def test_compressed_archive_is_bounded(tmp_path):
    driver = DockerArchiveImages("x", DockerArchiveImages.Config(max_unpacked_bytes=1 << 20), str(tmp_path))
    path = write(tmp_path / "bomb", gzip.compress(bytes(50 << 20)))
    with pytest.raises(ResourceExhausted, match="more than 1048576 bytes"):
        resolve(driver, path)


def test_damaged_compression_is_told(archives, tmp_path):
    path = write(tmp_path / "a", gzip.compress(os.urandom(100_000))[:-50_000])
    with pytest.raises(InvalidArgument, match="unexpected end of the gzip data"):
        resolve(archives, path)


def test_layout_labels_and_names(layouts, tmp_path):
    one, two = ArchivedImage([layer("a")]), ArchivedImage([layer("b")])
    entries = [one.entry("latest"), two.entry("registry.test/app:2")]
    path = str(write_directory(oci_layout(entries, [one, two]), tmp_path / "layout"))
    assert resolve(layouts, f"{path}:latest").names == ()
    assert resolve(layouts, f"{path}:registry.test/app:2").names == ("registry.test/app:2",)
    assert listed(layouts, path) == (f"{path}:@0", f"{path}:@1")
    assert resolve(layouts, f"{path}:@1").config == two.config
    assert fetched(layouts, resolve(layouts, f"{path}:@0")) == [
        one.blobs[d.digest] for d in resolve(layouts, f"{path}:@0").layers
    ]


def test_layout_in_a_directory_with_a_colon(layouts, tmp_path):
    image = ArchivedImage([layer("a")])
    path = str(write_directory(oci_layout([image.entry("1")], [image]), tmp_path / "a:b"))
    assert resolve(layouts, f"{path}:1").config == image.config


def test_a_label_that_looks_like_a_number_is_a_label(layouts, tmp_path):
    one, two = ArchivedImage([layer("a")]), ArchivedImage([layer("b")])
    path = write_directory(oci_layout([one.entry("1"), two.entry("0")], [one, two]), tmp_path / "layout")
    assert resolve(layouts, f"{path}:0").config == two.config


def test_one_image_under_two_labels_is_one(layouts, tmp_path):
    image = ArchivedImage([layer("a")])
    entries = [image.entry("1", "docker.io/library/a:1"), image.entry("2", "docker.io/library/b:2")]
    path = str(write_directory(oci_layout(entries, [image]), tmp_path / "layout"))
    assert resolve(layouts, path).names == ("docker.io/library/a:1", "docker.io/library/b:2")


def test_who_asks_for_one_name_gets_one(layouts, archives, tmp_path):
    image = ArchivedImage([layer("a")])
    entries = [image.entry("registry.test/a:1"), image.entry("registry.test/b:2"), image.entry("No:Name")]
    path = str(write_directory(oci_layout(entries, [image]), tmp_path / "layout"))
    assert resolve(layouts, path).names == ("registry.test/a:1", "registry.test/b:2")
    assert resolve(layouts, f"{path}:registry.test/b:2").names == ("registry.test/b:2",)
    assert resolve(layouts, f"{path}:No:Name").config == image.config
    archive = write(tmp_path / "a.tar", tar_of(docker_archive({"a:1,b:2": image})))
    assert resolve(archives, f"{archive}#b:2").name == "docker.io/library/b:2"
