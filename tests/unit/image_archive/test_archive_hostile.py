"""Archives and layouts that no honest tool writes: refused, in bounded time and memory."""

import hashlib
import json
import os
import resource
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.spi import Platform
from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque.spi.image import ImageRequest
from barque.testing.archives import ArchivedImage, docker_archive, index, oci_layout, tar_of, write_directory
from barque.testing.image import MemorySink
from barque.testing.layers import LayerTar
from barque_image_archive import ociformat
from barque_image_archive.documents import read_manifest
from barque_image_archive.names import canonical
from barque_image_archive.oci import OciLayoutImages
from barque_image_archive.plugin import DockerArchiveImages

LAYER = LayerTar().file("a", b"1").content()


@pytest.fixture
def image():
    return ArchivedImage([LAYER])


def resolve(tmp_path, files, links=None):
    path = tmp_path / "hostile.tar"
    path.write_bytes(tar_of(files, links) if isinstance(files, dict) else files)
    driver = DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(tmp_path))
    return driver, driver.image_resolve(ImageRequest(str(path), Platform()))


def layout(tmp_path, files):
    driver = OciLayoutImages("oci", OciLayoutImages.Config(), str(tmp_path))
    path = write_directory(files, tmp_path / "layout")
    return driver, driver.image_resolve(ImageRequest(str(path), Platform()))


def entries(files, **changes):
    """The archive with fields of its only image changed."""
    document = json.loads(files["manifest.json"])
    document[0].update(changes)
    return {**files, "manifest.json": json.dumps(document).encode()}


@pytest.mark.row("S26")
@pytest.mark.parametrize(
    "tag",
    [
        "../../etc",
        "a b:1",
        "-rf",
        "A:1",
        "a:" + "x" * 129,
        "a@sha256:" + "0" * 64,
        "a\x00b",
        "a:1\n",
        "/:1",
        "",
    ],
)
def test_repo_tags_that_are_no_names_are_refused(tmp_path, image, tag):
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        resolve(tmp_path, entries(docker_archive({"x:1": image}), RepoTags=[tag]))


@pytest.mark.row("S26")
@pytest.mark.parametrize("tag", ["deb:bash", "docker-archive:x", "oci:1"])
def test_no_name_of_an_archive_has_a_scheme(tmp_path, image, tag):
    _, found = resolve(tmp_path, docker_archive({tag: image}))
    assert found.names == (f"docker.io/library/{tag}",)


@pytest.mark.row("S26")
def test_labels_name_nothing(tmp_path):
    labels = {
        "io.containerd.image.name": "docker.io/library/alpine:latest",
        "org.opencontainers.image.ref.name": "alpine",
    }
    image = ArchivedImage([LAYER], labels=labels)
    _, found = resolve(tmp_path, oci_layout([image.entry("latest")], [image]))
    assert (found.name, found.names, found.repository_digest) == ("", (), "")


@pytest.mark.row("S22")
@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" + b"[]," * 300_000 + b"[]]",
        b" " * (9 << 20),
        b"NaN",
        b"{}",
        b"[]",
        b"\xff",
        b"[1]",
        b"",
    ],
    ids=[
        "deep list",
        "deep object",
        "many values",
        "large",
        "NaN",
        "object",
        "empty",
        "no UTF-8",
        "number",
        "nothing",
    ],
)
@pytest.mark.parametrize("name", ["manifest.json", "index.json"])
def test_documents_are_bounded(tmp_path, document, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidArgument):
        resolve(tmp_path, {name: document})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.row("S22")
def test_manifest_of_100_mb(tmp_path, image):
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = 100 << 20
        with open("/dev/zero", "rb") as zeros:
            tar.addfile(member, zeros)
    driver = DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(tmp_path))
    with pytest.raises(InvalidArgument, match="larger than"):
        driver.image_resolve(ImageRequest(str(path), Platform()))


@pytest.mark.row("S22")
def test_members_are_bounded(tmp_path):
    with pytest.raises(InvalidArgument, match="too many members"):
        resolve(tmp_path, tar_of({f"{number:05}": b"" for number in range(65_600)}))


@pytest.mark.row("S22")
def test_names_are_bounded(tmp_path):
    with pytest.raises(InvalidArgument, match="too many members"):
        resolve(tmp_path, tar_of({f"{number:04}{'x' * 4000}": b"" for number in range(2200)}))


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../../etc/passwd", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha512:" + "a" * 128, "", None, 5,
     "sha256:" + "a" * 63 + "/", "sha256:" + "a" * 64 + "\n"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["index", "config", "layers"])
def test_digests_are_sha256_and_nothing_else(tmp_path, image, digest, where):
    entry = image.entry("1")
    if where == "index":
        files = oci_layout([{**entry, "digest": digest}], [image])
    else:
        manifest = json.loads(image.manifest)
        target = manifest["config"] if where == "config" else manifest["layers"][0]
        target["digest"] = digest
        files = _with_manifest(image, manifest)
    with pytest.raises(InvalidArgument, match="invalid digest"):
        resolve(tmp_path, files)
    with pytest.raises(InvalidArgument, match="invalid digest"):
        layout(tmp_path, files)


def _with_manifest(image, manifest, **changes):
    """A layout whose only manifest is this one, truly described but for `changes`."""
    import hashlib

    data = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    entry = {**image.entry("1"), "digest": digest, "size": len(data), **changes}
    return oci_layout([entry], [image], data)


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, {}),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, {}),
        ({"manifests": []}, {}),
        ({"schemaVersion": 1}, {}),
        ({"layers": None}, {}),
        ({"layers": [{}] * 600}, {}),
        ({"layers": [{"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": -1}]}, {}),
        (
            {"layers": [{"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": 5, "urls": ["http://x"]}]},
            {},
        ),
        ({}, {"mediaType": "application/vnd.oci.image.index.v1+json"}),
        ({}, {"size": 10}),
    ],
)
def test_documents_that_are_not_what_they_are_called(tmp_path, image, fields, changes):
    with pytest.raises(InvalidArgument):
        resolve(tmp_path, _with_manifest(image, {**json.loads(image.manifest), **fields}, **changes))


@pytest.mark.row("S23")
def test_blob_with_other_content(tmp_path, image):
    files = oci_layout([image.entry("1")], [image])
    name = f"blobs/sha256/{image.digest[7:]}"
    files[name] = files[name].replace(b'"schemaVersion": 2', b'"schemaVersion":  ')
    with pytest.raises(InvalidArgument, match="does not match its digest"):
        resolve(tmp_path, files)


def test_layer_of_another_size_is_told(tmp_path, image):
    manifest = json.loads(image.manifest)
    manifest["layers"][0]["size"] += 1
    driver, found = resolve(tmp_path, _with_manifest(image, manifest))
    with pytest.raises(InvalidArgument, match="its manifest says"):
        driver.image_fetch(found, found.layers[0], MemorySink())


def test_indexes_that_are_nested_too_deep(tmp_path, image):
    blobs, entry = [], image.entry()
    for _ in range(8):
        document = index([entry])
        blobs.append(document)
        digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
        entry = {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest,
            "size": len(document),
        }
    with pytest.raises(InvalidArgument, match="nested deeper"):
        resolve(tmp_path, oci_layout([entry], [image], *blobs))


@pytest.mark.row("S22")
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("width", [1000, 20])
def test_indexes_that_multiply(tmp_path, image, there, width):
    """Four small documents that name 10^12 manifests; or, with 20 each, 160000, whether they are in the archive or not."""
    document = index([image.entry()] * width)
    blobs = [document]
    for _ in range(3):
        document = index([index_entry(document)] * width)
        blobs.append(document)
    began = time.process_time()
    with pytest.raises(InvalidArgument, match="manifests"):
        resolve(tmp_path, oci_layout([index_entry(document)], [image] if there else [], *blobs))
    assert time.process_time() - began < 2


@pytest.mark.row("S22")
def test_manifests_are_read_once_however_many_images_are_compared(tmp_path, image, monkeypatch):
    """40 entries of index.json and 40 of manifest.json, all with one manifest below them."""
    indexes = [index([image.entry()] * count) for count in range(1, 40)]
    files = oci_layout([index_entry(document) for document in indexes], [image], *indexes)
    files["other.json"] = ArchivedImage([LAYER], labels={"other": "image"}).config
    entry = {"Config": "other.json", "Layers": [], "RepoTags": []}
    files["manifest.json"] = json.dumps([entry] * 40).encode()
    reads = []
    monkeypatch.setattr(
        ociformat, "read_manifest", lambda *given: reads.append(given) or read_manifest(*given)
    )
    with pytest.raises(InvalidArgument, match="has 79 images"):
        resolve(tmp_path, files)
    assert len(reads) == 1


def index_entry(document):
    return {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": f"sha256:{hashlib.sha256(document).hexdigest()}",
        "size": len(document),
    }


@pytest.mark.row("S18")
@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../etc/passwd", "/proc/self/environ"])
def test_links_lead_to_members_only(tmp_path, image, target):
    files = docker_archive({"x:1": image})
    config = json.loads(files["manifest.json"])[0]["Config"]
    del files[config]
    with pytest.raises(InvalidArgument, match="incomplete: the archive has no"):
        resolve(tmp_path, files, {config: target})


@pytest.mark.row("S18")
def test_links_in_a_circle(tmp_path, image):
    files = entries(docker_archive({"x:1": image}), Config="a")
    with pytest.raises(InvalidArgument, match="no regular file"):
        resolve(tmp_path, files, {"a": "b", "b": "a"})


@pytest.mark.row("S18")
@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "x/../../y", "./././layer", ".", "", "a//b"]
)
def test_names_with_dots_are_harmless(tmp_path, image, name):
    """They are keys of a table: found under their clean form, and nowhere else."""
    files = docker_archive({"x:1": image})
    moved = entries(files, Layers=[name])
    with pytest.raises(InvalidArgument):
        resolve(tmp_path, moved)
    if name.strip("./"):
        driver, found = resolve(tmp_path, {**moved, name: LAYER})
        sink = MemorySink()
        driver.image_fetch(found, found.layers[0], sink)
        assert bytes(sink.data) == LAYER


def test_of_duplicates_the_last_counts(tmp_path, image):
    """As for whoever extracts the tar."""
    first, last = tar_of(docker_archive({"first:1": image})), tar_of(docker_archive({"last:1": image}))
    _, found = resolve(tmp_path, first.rstrip(b"\0") + bytes(-len(first.rstrip(b"\0")) % 512) + last)
    assert found.names == ("docker.io/library/last:1",)


@pytest.mark.parametrize("kind", ["cut in a header", "cut in a file", "sparse", "no tar", "empty"])
def test_tars_that_are_none(tmp_path, image, kind):
    whole = tar_of(docker_archive({"x:1": image}))
    data = {
        "cut in a header": whole[:100], "cut in a file": whole[:600], "no tar": os.urandom(5000), "empty": b"",
        "sparse": whole[:156] + b"S" + whole[157:],
    }[kind]  # fmt: skip
    with pytest.raises(InvalidArgument):
        resolve(tmp_path, data)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    path = tmp_path / "a.tar"
    make(path)
    driver = DockerArchiveImages("docker-archive", DockerArchiveImages.Config(), str(tmp_path))
    with pytest.raises(InvalidArgument, match="no regular file"):
        driver.image_resolve(ImageRequest(str(path), Platform()))


@pytest.mark.row("S18")
@pytest.mark.parametrize("victim", ["index.json", "blob", "blobs", "blobs/sha256"])
def test_no_symbolic_link_of_a_layout_is_followed(tmp_path, image, victim):
    files = oci_layout([image.entry("1")], [image])
    path = write_directory(files, tmp_path / "layout")
    name = (
        next(iter(n for n in files if n.startswith("blobs/") and n.endswith(image.digest[7:])))
        if victim == "blob"
        else victim
    )
    os.rename(path / name, tmp_path / "outside")
    os.symlink(tmp_path / "outside", path / name)
    driver = OciLayoutImages("oci", OciLayoutImages.Config(), str(tmp_path))
    with pytest.raises(InvalidArgument):
        driver.image_resolve(ImageRequest(str(path), Platform()))


def test_a_fifo_in_a_layout_is_not_waited_for(tmp_path, image):
    path = write_directory(oci_layout([image.entry("1")], [image]), tmp_path / "layout")
    os.unlink(path / "index.json")
    os.mkfifo(path / "index.json")
    driver = OciLayoutImages("oci", OciLayoutImages.Config(), str(tmp_path))
    with pytest.raises(InvalidArgument, match="no regular file"):
        driver.image_resolve(ImageRequest(str(path), Platform()))


@pytest.mark.parametrize("reference", ["", "a\0b", "\0#0"])
def test_references_that_no_path_can_be(tmp_path, reference):
    for driver in (
        DockerArchiveImages("a", DockerArchiveImages.Config(), str(tmp_path)),
        OciLayoutImages("o", OciLayoutImages.Config(), str(tmp_path)),
    ):
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            driver.image_resolve(ImageRequest(reference, Platform()))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_an_error_of_the_contract(tmp_path_factory, data):
    """Bytes changed anywhere: the image as it was, another one, or an error that says something."""
    image = ArchivedImage([LAYER], "plain")
    files = {
        **docker_archive({"x:1": image}),
        **oci_layout([image.entry("1", "docker.io/library/x:1")], [image]),
    }
    whole = bytearray(tar_of(files))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    directory = tmp_path_factory.mktemp("fuzz")
    try:
        driver, found = resolve(directory, bytes(whole))
        for layer in found.layers:
            driver.image_fetch(found, layer, MemorySink())
    except (InvalidArgument, NotFound) as error:
        known = error.message
        assert known
    except BarqueError as error:
        pytest.fail(f"{type(error).__name__}: {error}")


@given(st.text(max_size=30))
def test_canonical_names_are_stable(text):
    try:
        name = canonical(text)
    except InvalidArgument:
        return
    assert canonical(name) == name
