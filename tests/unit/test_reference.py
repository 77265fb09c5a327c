"""Image references: Docker's grammar and defaults."""

import pytest

from barque.oci.reference import parse_reference
from barque.spi.errors import InvalidArgument

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "name", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("ghcr.io/a/b/c:1_2", "ghcr.io/a/b/c:1_2", "ghcr.io/a/b/c:1_2"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine:1@{DIGEST}", "docker.io/library/alpine:1", "alpine:1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
    ],
)
def test_names_are_completed_as_docker_does(text, name, familiar):
    reference = parse_reference(text)
    assert (reference.name, reference.familiar()) == (name, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "", "UPPER", "a b", "a//b", "/a", "a/", "a:", "a:b c", "-a", "a@sha256:short", "a@md5:" + "0" * 64,
        "a@sha256:" + "A" * 64, "a:" + "x" * 129, "../etc", "a/../b", "x" * 300, "exa mple.com/a", "a@", f"@{DIGEST}", "0" * 64,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_reference(text)
