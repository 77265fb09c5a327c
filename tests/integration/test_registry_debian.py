"""Pulls from and pushes to Docker's own registry (Debian's docker-registry); skopeo brings images, and judges."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import subprocess
import time
from dataclasses import replace

import pytest

from barque.spi.common import Platform
from barque.spi.errors import NotFound
from barque.spi.image import ImagePush, ImageRequest, ImageSearch
from barque.testing import need
from barque.testing.image import ImageConformance, MemoryContent, MemorySink, small_push
from barque.testing.image_lab import fetched
from barque.testing.layers import LayerTar
from barque_image_registry.plugin import RegistryImages

OCI = "application/vnd.oci.image"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    program = need.tool("docker-registry")
    need.tool("skopeo")
    directory = tmp_path_factory.mktemp("docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = directory / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait_for(port, server)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """An OCI layout with an image of two layers, one of them of several megabytes."""
    directory = tmp_path_factory.mktemp("layout")
    (directory / "blobs" / "sha256").mkdir(parents=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        (directory / "blobs" / "sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    tars = [
        LayerTar().file("big", os.urandom(5 << 20)),
        LayerTar().directory("etc").file("etc/motd", b"hello"),
    ]
    layers = [
        {"mediaType": f"{OCI}.layer.v1.tar+gzip", **put(gzip.compress(tar.content(), 1))} for tar in tars
    ]
    rootfs = {"type": "layers", "diff_ids": [tar.diff_id() for tar in tars]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json", **put(config)},
        "layers": layers,
    }
    entry = {"mediaType": f"{OCI}.manifest.v1+json", **put(json.dumps(manifest).encode())}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "image"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory, config


@pytest.fixture
def driver(tmp_path):
    driver = RegistryImages("registry", RegistryImages.Config(), tmp_path)
    yield driver
    driver.close()


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_pushed_image_is_pulled(address, layout, driver, format):
    directory, config = layout
    target = f"{address}/team/{format}:1.0"
    _copy(directory, target, format)
    image = driver.image_resolve(ImageRequest(target, Platform()))
    assert image.name == target
    assert image.repository_digest == f"sha256:{hashlib.sha256(image.manifest).hexdigest()}"
    assert json.loads(image.config)["rootfs"] == json.loads(config)["rootfs"]
    assert image.manifest_type.startswith(
        "application/vnd.docker" if format == "v2s2" else "application/vnd.oci"
    )
    for layer in image.layers:
        sink = MemorySink()
        driver.image_fetch(image, layer, sink)
        assert f"sha256:{hashlib.sha256(sink.data).hexdigest()}" == layer.digest


@pytest.mark.row("R29")
def test_layer_is_resumed(address, layout, driver):
    directory, _ = layout
    _copy(directory, f"{address}/resume:1", "oci")
    image = driver.image_resolve(ImageRequest(f"{address}/resume:1", Platform()))
    whole = (directory / "blobs" / "sha256" / image.layers[0].digest[7:]).read_bytes()
    sink = MemorySink(whole[: 3 << 20])
    driver.image_fetch(image, image.layers[0], sink)
    assert sink.data == whole
    assert sink.restarts == 0


def test_localhost_name_and_digest(address, layout, driver):
    directory, _ = layout
    _copy(directory, f"{address}/named:1", "oci")
    port = address.rpartition(":")[2]
    by_tag = driver.image_resolve(ImageRequest(f"localhost:{port}/named:1", Platform()))
    by_digest = driver.image_resolve(
        ImageRequest(f"localhost:{port}/named@{by_tag.repository_digest}", Platform())
    )
    assert by_digest.manifest == by_tag.manifest
    assert by_digest.name.endswith(f"/named@{by_tag.repository_digest}")


def test_unknown_tag_and_repository_in_dockers_words(address, layout, driver):
    directory, _ = layout
    _copy(directory, f"{address}/known:1", "oci")
    for name in ("known:2", "unknown:latest"):
        with pytest.raises(
            NotFound, match=f"manifest for {address}/{name} not found: manifest unknown: manifest unknown"
        ):
            driver.image_resolve(ImageRequest(f"{address}/{name}", Platform()))


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_image_goes_from_registry_to_registry_and_stays_the_same(address, layout, tmp_path, format):
    """Pulled by Barque, pushed by Barque to another repository in chunks, copied by skopeo: the same digests."""
    directory, _ = layout
    _copy(directory, f"{address}/from/{format}:1", format)
    driver = RegistryImages("registry", RegistryImages.Config(chunk_size=2 << 20), tmp_path)
    try:
        image = driver.image_resolve(ImageRequest(f"{address}/from/{format}:1", Platform()))
        content = MemoryContent([bytes(fetched(driver, image, layer)) for layer in image.layers])
        target = f"{address}/to/{format}:2"
        push = ImagePush(target, image.manifest, image.manifest_type, image.config, image.layers, content)
        pushed = driver.image_push(push)
        again = driver.image_push(
            replace(push, reference=f"{address}/again/{format}:2", repositories=(f"{address}/to/{format}",))
        )
    finally:
        driver.close()
    assert pushed.digest == again.digest == image.repository_digest
    assert json.loads(_skopeo("inspect", f"docker://{target}"))["Digest"] == image.repository_digest
    assert _skopeo("inspect", "--raw", f"docker://{address}/again/{format}:2") == image.manifest


def test_mounted_from_another_repository(address, driver, tmp_path):
    lines = []
    layers = [os.urandom(100_000)]
    driver.image_push(small_push(f"{address}/library/base:1", layers))
    repositories = (f"{address}/library/base",)
    driver.image_push(
        small_push(f"{address}/team/derived:1", layers, repositories=repositories, progress=lines.append)
    )
    assert lines[-1].status == "Mounted from library/base"


def test_tags_and_description(address, layout, driver):
    directory, _ = layout
    for tag in ("1", "2", "3"):
        _copy(directory, f"{address}/listed:{tag}", "oci")
    found = driver.image_list(ImageRequest(f"{address}/listed", Platform()))
    assert set(found) == {f"{address}/listed:{tag}" for tag in "123"}
    image = driver.image_resolve(ImageRequest(f"{address}/listed:1", Platform()))
    described = driver.image_describe(ImageRequest(f"{address}/listed:1", Platform()))
    assert (described.descriptor.digest, described.descriptor.size) == (
        image.repository_digest,
        len(image.manifest),
    )
    assert f"{address}/listed" in [
        result.name for result in driver.image_search(ImageSearch(f"{address}/liste"))
    ]


class TestConformance(ImageConformance):
    """The kit against a registry that is not ours."""

    @pytest.fixture
    def driver(self, tmp_path):
        driver = RegistryImages("registry", RegistryImages.Config(), tmp_path)
        yield driver
        driver.close()

    @pytest.fixture
    def reference(self, address, layout):
        _copy(layout[0], f"{address}/kit:1", "oci")
        return f"{address}/kit:1"

    @pytest.fixture
    def missing_reference(self, address):
        return f"{address}/kit:missing"

    @pytest.fixture
    def push_reference(self, address, request):
        return f"{address}/pushed/{request.node.originalname}:1"

    @pytest.fixture
    def found_by(self, address, reference):
        return f"{address}/kit", f"{address}/kit"


def _skopeo(command, *arguments):
    found = subprocess.run(
        ["skopeo", command, "--tls-verify=false", *arguments], check=True, capture_output=True
    )
    return found.stdout


def _copy(directory, target, format):
    command = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        f"--format={format}",
    ]
    subprocess.run(
        [*command, f"oci:{directory}:image", f"docker://{target}"], check=True, capture_output=True
    )


def _wait_for(port, server):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert server.poll() is None, "docker-registry ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("docker-registry does not listen")
