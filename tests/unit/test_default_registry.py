"""Names without a host lead to the profile's default registry, and are shown without it."""

from __future__ import annotations

import pytest

from barque.engine.images.names import ImageNames
from barque.spi.errors import InvalidArgument

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("default", "text", "canonical", "shown"),
    [
        ("docker.io", "alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io", "alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io", "my.team/app", "my.team/app:latest", "my.team/app:latest"),
        ("r.example:5000", "alpine", "r.example:5000/alpine:latest", "alpine:latest"),
        ("r.example:5000", "team/app:2", "r.example:5000/team/app:2", "team/app:2"),
        ("r.example:5000", "r.example:5000/team/app", "r.example:5000/team/app:latest", "team/app:latest"),
        (
            "r.example:5000",
            "docker.io/alpine",
            "docker.io/library/alpine:latest",
            "docker.io/library/alpine:latest",
        ),
        (
            "r.example:5000",
            "r.example:5000/my.team/app",
            "r.example:5000/my.team/app:latest",
            "r.example:5000/my.team/app:latest",
        ),
        ("r.example:5000", f"app@{DIGEST}", f"r.example:5000/app@{DIGEST}", f"app@{DIGEST}"),
    ],
)
def test_names(default, text, canonical, shown):
    names = ImageNames(("deb",), default)
    assert names.canonical(text) == canonical
    assert names.familiar(canonical) == shown
    # What is shown leads back to the same image.
    assert names.canonical(shown) == canonical


def test_registry_is_asked_by_the_complete_name():
    names = ImageNames(("deb",), "r.example")
    assert names.for_source(f"app:1@{DIGEST}") == ("", f"r.example/app:1@{DIGEST}")
    assert names.for_source("deb:bash,coreutils") == ("deb", "bash,coreutils")
    assert names.familiar("deb:bash@bookworm") == "deb:bash@bookworm"


@pytest.mark.parametrize("default", ["", "https://r.example", "r.example/team", "a b"])
def test_what_is_no_registry_is_refused(default):
    with pytest.raises(InvalidArgument, match=r"images\.default_registry"):
        ImageNames((), default)
