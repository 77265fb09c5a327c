"""Settings of the registry source: which hold where, and which are refused."""

from __future__ import annotations

import pytest

from barque.plugins.configs import build_config
from barque.spi.errors import InvalidArgument
from barque.spi.image import Credentials
from barque_image_registry.config import RegistryConfig
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.origin import Origin, parse_url
from barque_image_registry.plugin import RegistryImages

HUB = Origin("https", "registry-1.docker.io", 443)


def config(**options) -> RegistryConfig:
    return build_config(RegistryImages, options, "image.registry")


def test_table_of_host_and_port_goes_before_that_of_the_host():
    found = config(
        registries={
            "a.example": {"username": "host", "password_file": "x"},
            "A.example:5000": {"insecure": True},
        }
    )
    assert found.host(Origin("https", "a.example", 443)).username == "host"
    assert found.host(Origin("https", "a.example", 5000)).insecure
    assert not found.host(Origin("https", "b.example", 443)).insecure


def test_docker_hub_by_its_names():
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        found = config(
            registries={name: {"mirrors": ["https://own.example"]}}, mirrors=["https://old.example"]
        )
        assert [url.origin.host for url in found.mirrors_of(HUB)] == ["own.example", "old.example"]
        assert found.mirrors_of(Origin("https", "ghcr.io", 443)) == ()


def test_plain_http_and_insecure_are_for_their_registry_alone():
    plain = config(
        registries={"p.example:5000": {"plain_http": True}, "i.example": {"insecure": True}}
    ).plain_http()
    assert plain.allows("p.example", 5000)
    assert plain.is_plain("p.example", 5000)
    assert not plain.is_listed("p.example", 5000)
    assert not plain.allows("p.example", 80)
    assert plain.is_listed("i.example", 443)
    assert not plain.allows("x.example", 80)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idle_timeout": 0.5}, "idle_timeout: 0.5 is not between 1 and 60"),
        ({"parallel_uploads": 0}, "parallel_uploads: 0"),
        ({"max_concurrent": -1}, "max_concurrent: -1 is negative"),
        ({"chunk_size": 5}, "chunk_size: 5 is less"),
        ({"mirrors": ["http://mirror.example"]}, "mirrors: http://mirror.example is not https"),
        (
            {"registries": {"ghcr.io": {"mirrors": ["http://mirror.example"]}}},
            'registries."ghcr.io".mirrors: http://mirror.example is not https',
        ),
        ({"registries": {"https://ghcr.io": {}}}, "registries: 'https://ghcr.io' is no registry"),
        ({"registries": {"ghcr.io": {"username": "u"}}}, 'registries."ghcr.io".username: '),
        ({"registries": {"ghcr.io": {"client_key": "k"}}}, 'registries."ghcr.io".client_key: '),
        (
            {"registries": {"ghcr.io": {"passwort": "k"}}},
            'image.registry.registries."ghcr.io".passwort: no such option',
        ),
    ],
)
def test_refused(options, message):
    with pytest.raises(InvalidArgument) as caught:
        config(**options)
    assert message in caught.value.message


def test_plain_mirror_with_a_table_of_its_own():
    found = config(
        mirrors=["http://mirror.example:5000"], registries={"mirror.example:5000": {"plain_http": True}}
    )
    assert found.mirrors_of(HUB)[0].origin == Origin("http", "mirror.example", 5000)


def test_password_file_is_used_when_the_client_sends_nothing(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    table = {"username": "robot", "password_file": str(tmp_path / "password")}
    endpoints = Endpoints(config(registries={"a.example": table}), None)
    origin = Origin("https", "a.example", 443)
    assert endpoints.credentials(origin, None) == Credentials("robot", "secret")
    assert endpoints.credentials(origin, Credentials()) == Credentials("robot", "secret")
    assert endpoints.credentials(origin, Credentials("me", "mine")) == Credentials("me", "mine")
    assert endpoints.credentials(HUB, None) is None


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    ("server", "origin", "sent"),
    [
        ("", "https://r.example/", True),
        ("r.example", "https://r.example/", True),
        ("https://r.example/v2/", "https://r.example/", True),
        ("R.example:5000", "https://r.example:5000/", True),
        ("r.example", "https://r.example:5000/", True),
        ("[::1]:5000", "http://[::1]:5000/", True),
        ("https://index.docker.io/v1/", "https://registry-1.docker.io/", True),
        ("docker.io", "https://index.docker.io/", True),
        ("https://index.docker.io/v1/", "https://r.example/", False),
        ("r.example:5001", "https://r.example:5000/", False),
        ("r.example.evil", "https://r.example/", False),
        ("not a host", "https://r.example/", False),
    ],
)
def test_credentials_go_to_the_registry_they_are_for(server, origin, sent):
    given = Credentials("me", "mine", server=server)
    found = Endpoints(config(), None).credentials(parse_url(origin).origin, given)
    assert found == (given if sent else None)


def test_probe_names_files_that_are_not_there(tmp_path):
    driver = RegistryImages(
        "registry",
        config(registries={"a.example": {"ca_file": "/no/ca.pem"}}, ca_file="/no/other.pem"),
        tmp_path,
    )
    problems = [problem.what for problem in driver.image_probe().problems]
    assert problems == [
        "ca_file /no/other.pem does not exist",
        'registries."a.example".ca_file /no/ca.pem does not exist',
    ]
