"""Pulls from Docker's own registry (Debian's docker-registry), with images that skopeo pushed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import subprocess
import time

import pytest

from barque.spi.common import Platform
from barque.spi.errors import NotFound
from barque.spi.image import ImageRequest
from barque.testing import need
from barque.testing.image import MemorySink
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
