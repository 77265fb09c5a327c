from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque_image_registry.reference import parse

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "name", "endpoint"),
    [
        ("alpine", "docker.io/library/alpine:latest", "registry-1.docker.io"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "registry-1.docker.io"),
        ("user/app", "docker.io/user/app:latest", "registry-1.docker.io"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "registry-1.docker.io"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "registry-1.docker.io"),
        ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1", "ghcr.io"),
        ("localhost/app", "localhost/app:latest", "localhost"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest", "127.0.0.1:5000"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000"),
        ("Registry/app", "Registry/app:latest", "Registry"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", "registry-1.docker.io"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", "registry-1.docker.io"),
        ("a__b-c/e.d---f", "docker.io/a__b-c/e.d---f:latest", "registry-1.docker.io"),
    ],
)
def test_reference_is_completed_as_docker_does(text, name, endpoint):
    reference = parse(text)
    assert (reference.name, reference.endpoint) == (name, endpoint)
    assert parse(reference.name) == reference


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("alpine", "alpine:latest"),
        ("docker.io/user/app:1", "user/app:1"),
        ("library/a/b", "library/a/b:latest"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        (f"alpine@{DIGEST}", f"alpine@{DIGEST}"),
    ],
)
def test_familiar_name(text, familiar):
    assert parse(text).familiar == familiar


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:", "/a", "a/", "a//b", "a b", "-a", "a-", "a..b", "a___b", "a:b:c", "a:" + "t" * 129, "a:/b", "a:.x",
        "a@", "a@sha256:", f"a@{DIGEST[:-1]}", f"a@{DIGEST.upper()}", "a@sha512:" + "0" * 128, "a@md5:" + "0" * 32,
        f"a@sha256:../{'0' * 61}", f"a@{DIGEST}@{DIGEST}", "host.com:0/a", "host.com:70000/a", "host.com:x/a", "ho_st.com/a",
        "-host.com/a", "http://host/a", "a/../b", "a\n", "a\0b", "é", "host.com/" + "a" * 255, "a" * 600, "[::1/a", "[x]/a",
    ],
)  # fmt: skip
def test_malformed_reference_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        parse(text)


def test_upper_case_repository_is_explained():
    with pytest.raises(InvalidArgument, match=r"repository name \(Alpine\) must be lowercase"):
        parse("Alpine")


def test_image_id_is_not_a_name():
    with pytest.raises(InvalidArgument, match="cannot specify 64-byte hexadecimal strings"):
        parse("a" * 64)


@pytest.mark.row("R41")
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(reference.name) == reference
    assert ".." not in reference.path.split("/")
