from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import BarqueError, InvalidArgument, NotImplemented
from barque_image_registry.documents import Index, Manifest, diff_ids, read_document

DIGEST = "sha256:" + "0a" * 32
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 7}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 9}


def manifest(**changes):
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": CONFIG, "layers": [LAYER], **changes}


def index(*manifests, **changes):
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests), **changes}


def entry(**changes):
    return {
        "mediaType": MANIFEST,
        "digest": DIGEST,
        "size": 5,
        "platform": {"os": "linux", "architecture": "amd64"},
        **changes,
    }


def read(document, content_type):
    return read_document(json.dumps(document).encode(), content_type)


def test_manifest_is_read():
    found = read(manifest(), f"{MANIFEST}; charset=utf-8")
    assert isinstance(found, Manifest)
    assert found.config.size == 7
    assert [(layer.digest, layer.size) for layer in found.layers] == [(DIGEST, 9)]


def test_docker_types_are_read():
    config = CONFIG | {"mediaType": "application/vnd.docker.container.image.v1+json"}
    layer = LAYER | {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
    found = read(manifest(mediaType=DOCKER, config=config, layers=[layer]), DOCKER)
    assert found.media_type == DOCKER
    assert isinstance(read(index(mediaType=LIST), LIST), Index)


@pytest.mark.parametrize("header", ["", "application/json", "text/plain"])
def test_vague_content_type_leaves_it_to_the_document(header):
    assert read(manifest(), header).media_type == MANIFEST
    undeclared = manifest()
    del undeclared["mediaType"]
    assert read(undeclared, header).media_type == MANIFEST


def test_attestations_and_artifacts_are_not_choices():
    attestation = entry(annotations={"vnd.docker.reference.type": "attestation-manifest"})
    unknown = entry(platform={"os": "unknown", "architecture": "unknown"})
    nested = entry(mediaType=INDEX)
    bare = entry()
    del bare["platform"]
    found = read(index(attestation, unknown, nested, entry(), bare), INDEX)
    assert [(choice.os, choice.architecture) for choice in found.choices] == [("linux", "amd64"), ("", "")]


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (manifest(), DOCKER),
        (manifest(), INDEX),
        (manifest(mediaType=INDEX), INDEX),
        (manifest(mediaType=INDEX), MANIFEST),
        (manifest(manifests=[entry()]), MANIFEST),
        (index(entry(), layers=[]), INDEX),
        (index(entry(), config=CONFIG), INDEX),
        (index(entry()), MANIFEST),
        (manifest(mediaType=3), MANIFEST),
        (manifest(), "text/html"),
        (manifest(schemaVersion=3), MANIFEST),
        (manifest(schemaVersion="2"), MANIFEST),
        ({"schemaVersion": 2}, MANIFEST),
        ({}, ""),
    ],
)
def test_document_that_is_not_what_it_says_is_refused(document, content_type):
    with pytest.raises(InvalidArgument):
        read(document, content_type)


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "digest",
    ["", None, 1, "sha256:", "sha256:" + "A" * 64, "sha512:" + "0" * 128, "md5:" + "0" * 32, "sha256:../../etc/passwd",
     "sha256:" + "0" * 63 + "/", "../" * 10, DIGEST + "\n", "sha256+b64:" + "0" * 64],
)  # fmt: skip
def test_digest_that_is_not_sha256_is_refused(digest):
    for document in (
        manifest(config=CONFIG | {"digest": digest}),
        manifest(layers=[LAYER | {"digest": digest}]),
    ):
        with pytest.raises(InvalidArgument, match="invalid digest"):
            read(document, MANIFEST)
    with pytest.raises(InvalidArgument, match="invalid digest"):
        read(index(entry(digest=digest)), INDEX)


@pytest.mark.parametrize("size", [-1, True, "9", 1.5, None, 1 << 60])
def test_size_that_is_none_is_refused(size):
    with pytest.raises(InvalidArgument, match="invalid size"):
        read(manifest(layers=[LAYER | {"size": size}]), MANIFEST)


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    "changes",
    [
        {"urls": ["https://example.com/layer"]},
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
    ],
)
def test_foreign_layer_is_refused(changes):
    with pytest.raises(InvalidArgument, match="foreign"):
        read(manifest(layers=[LAYER | changes]), MANIFEST)


@pytest.mark.parametrize(
    "document",
    [
        manifest(config=CONFIG | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}),
        manifest(layers=[LAYER | {"mediaType": "application/octet-stream"}]),
        manifest(layers={}),
        manifest(layers=[LAYER] * 600),
        manifest(layers=["x"]),
        manifest(config=None),
        manifest(layers=[LAYER | {"annotations": {"a": 1}}]),
        manifest(layers=[LAYER | {"annotations": []}, LAYER | {"annotations": [1]}]),
        index(*[entry()] * 1100),
        index(entry(platform=[])),
        index(entry(platform={"os": 1})),
        {**index(), "manifests": {}},
    ],
)
def test_malformed_content_is_refused(document):
    with pytest.raises(InvalidArgument):
        read(document, document["mediaType"])


@pytest.mark.parametrize(
    ("document", "header"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, ""),
        (manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (manifest(fsLayers=[]), MANIFEST),
    ],
)
def test_schema_1_is_named_in_the_refusal(document, header):
    with pytest.raises(NotImplemented, match="schema 1"):
        read(document, header)


@pytest.mark.row("S22")
@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"a":[' + b"{}," * 1_000_000 + b"{}]}",
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"a":NaN}',
        b"\xff\xfe",
        b"",
        b"[]",
        b'"x"',
        b'{"a":"\\',
    ],
    ids=str,
)
def test_hostile_json_is_refused(data):
    with pytest.raises(InvalidArgument):
        read_document(data, MANIFEST)


def test_brackets_within_strings_do_not_count_as_depth():
    found = read(manifest(layers=[LAYER | {"annotations": {"note": '[{"' * 100}}]), MANIFEST)
    assert found.layers[0].annotations["note"].startswith("[")


def test_diff_ids():
    assert diff_ids({"rootfs": {"type": "layers", "diff_ids": [DIGEST]}}) == (DIGEST,)
    for rootfs in (None, [], {}, {"diff_ids": "x"}, {"diff_ids": ["sha256:x"]}, {"diff_ids": [1]}):
        with pytest.raises(InvalidArgument, match="diff_ids"):
            diff_ids({"rootfs": rootfs})


_fields = st.sampled_from([*manifest(), "manifests", "digest", "size"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.row("R41")
@given(
    st.dictionaries(st.sampled_from([*manifest(), "manifests"]), _json),
    st.sampled_from(["", MANIFEST, INDEX]),
)
def test_any_json_is_read_or_refused(document, content_type):
    with contextlib.suppress(BarqueError):
        read(document, content_type)
