"""Settings of one registry, at work: mirrors, private authorities, client certificates, plain HTTP, credentials of the profile."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from barque.plugins.configs import build_config
from barque.spi.common import Platform
from barque.spi.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable
from barque.spi.image import Credentials, ImageRequest
from barque.testing import need
from barque.testing.image_lab import fetched, small_push
from barque.testing.registry import Contents, Fault, FaultyRegistry, Tokens
from barque_image_registry.plugin import RegistryImages

LAYER = os.urandom(300_000)
USER = Credentials("user", "secret")


@pytest.fixture
def drivers(tmp_path):
    made = []

    def make(**options):
        config = build_config(
            RegistryImages, {"backoff": 0.01, "idle_timeout": 1.0, **options}, "image.registry"
        )
        made.append(RegistryImages("registry", config, tmp_path))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        registry.add_image("app", "1", [LAYER])
        yield registry


def resolve(driver, reference, **fields):
    return driver.image_resolve(ImageRequest(reference, Platform(), **fields))


# Mirrors


def test_mirrors_of_any_registry(registry, drivers):
    driver = drivers(registries={"r.example": {"mirrors": ["http://127.0.0.1:9/", f"{registry.url}/"]}})
    image = resolve(driver, "r.example/app:1", credentials=USER)
    assert image.name == "r.example/app:1"
    assert fetched(driver, image, image.layers[0]) == LAYER
    assert all("authorization" not in seen.headers for seen in registry.seen)


@pytest.mark.row("R28", "R30")
@pytest.mark.parametrize(
    "fault",
    [
        Fault("corrupt", "/manifests/"),
        Fault("status", "/manifests/", status=500),
        Fault("truncate", "/blobs/", after=9),
    ],
)
def test_mirror_that_is_broken_or_lies_is_passed_over(registry, drivers, fault):
    with FaultyRegistry() as mirror:
        mirror.add_image("app", "1", [LAYER])
        mirror.inject(fault)
        driver = drivers(attempts=2, registries={registry.address: {"mirrors": [mirror.url]}})
        image = resolve(driver, f"{registry.address}/app:1")
        assert fetched(driver, image, image.layers[0]) == LAYER
        assert mirror.seen


def test_mirror_has_credentials_of_its_own(registry, drivers, tmp_path):
    (tmp_path / "password").write_text("mirrored\n")
    with FaultyRegistry(tokens=Tokens(basic=True, username="robot", password="mirrored")) as mirror:
        mirror.add_image("app", "1", [b"of the mirror"])
        own = {"username": "robot", "password_file": str(tmp_path / "password")}
        driver = drivers(registries={registry.address: {"mirrors": [mirror.url]}, mirror.address: own})
        image = resolve(driver, f"{registry.address}/app:1", credentials=USER)
        assert fetched(driver, image, image.layers[0]) == b"of the mirror"


def test_push_goes_past_the_mirrors(registry, drivers):
    with FaultyRegistry() as mirror:
        driver = drivers(registries={registry.address: {"mirrors": [mirror.url]}})
        driver.image_push(small_push(f"{registry.address}/pushed:1"))
        assert ("pushed", "1") in registry.manifests
        assert mirror.seen == []


# Credentials of the profile


def test_profile_credentials_are_for_their_registry_alone(drivers, tmp_path, registry):
    password = tmp_path / "password"
    password.write_text("secret\n")
    with FaultyRegistry(
        tokens=Tokens(username="user", password="secret"), contents=Contents(separate=True)
    ) as closed:
        closed.add_image("app", "1", [LAYER])
        own = {"username": "user", "password_file": str(password)}
        driver = drivers(registries={closed.address: own})
        assert resolve(driver, f"{closed.address}/app:1").layers
        driver.image_push(small_push(f"{closed.address}/pushed:1"))
        with pytest.raises(PermissionDenied):
            resolve(driver, f"{closed.address}/app:1", credentials=Credentials("user", "of the client"))
        assert resolve(driver, f"{registry.address}/app:1").layers
        assert all("authorization" not in seen.headers for seen in registry.seen)
        password.unlink()
        with pytest.raises(FailedPrecondition, match="password_file"):
            resolve(driver, f"{closed.address}/app:1")


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private CA, and certificates of it for 127.0.0.1 and for a client."""
    openssl = need.tool("openssl")
    directory = tmp_path_factory.mktemp("ca")

    def run(*arguments):
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=directory)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run(
        "req",
        "-x509",
        *key,
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    )
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        (directory / "extension").write_text(extension)
        run("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extension", "-out", f"{name}.crt",
        )  # fmt: skip
    return directory


@pytest.fixture
def closed(authority):
    """A registry that wants a client certificate."""
    certificate, key = str(authority / "server.crt"), str(authority / "server.key")
    with FaultyRegistry(certificate=certificate, key=key, clients=str(authority / "ca.crt")) as registry:
        registry.add_image("app", "1", [LAYER])
        yield registry


def shown(authority):
    return {"client_cert": str(authority / "client.crt"), "client_key": str(authority / "client.key")}


@pytest.mark.row("S25")
def test_client_certificate_and_private_authority_of_one_registry(closed, drivers, authority):
    own = {"ca_file": str(authority / "ca.crt"), **shown(authority)}
    driver = drivers(registries={closed.address: own}, chunk_size=1 << 20)
    image = resolve(driver, f"{closed.address}/app:1")
    assert fetched(driver, image, image.layers[0]) == LAYER
    closed.inject(Fault("cut", "/blobs/uploads/", method="PATCH", after=500_000, times=1))
    big = os.urandom(5 << 20)
    pushed = small_push(f"{closed.address}/pushed:1", [big])
    driver.image_push(pushed)
    assert closed.blobs[pushed.layers[0].digest] == big
    assert ("pushed", "1") in closed.manifests


@pytest.mark.row("S25")
def test_without_a_client_certificate(closed, drivers, authority):
    driver = drivers(registries={closed.address: {"ca_file": str(authority / "ca.crt")}})
    with pytest.raises(Unavailable, match=r"(?i)certificate") as caught:
        resolve(driver, f"{closed.address}/app:1")
    assert "client_cert" in caught.value.hint
    assert closed.seen == []


@pytest.mark.row("S25")
def test_push_to_a_stranger_says_nothing(authority, drivers, tmp_path):
    certificate, key = str(authority / "server.crt"), str(authority / "server.key")
    with FaultyRegistry(certificate=certificate, key=key) as registry:
        with pytest.raises(Unavailable, match="tls: ") as caught:
            drivers().image_push(small_push(f"{registry.address}/pushed:1", credentials=USER))
        assert "ca_file" in caught.value.hint
        assert registry.seen == []
        assert registry.connections == 1


@pytest.mark.row("S25")
def test_authority_of_one_registry_is_not_that_of_another(closed, drivers, authority):
    own = {"ca_file": str(authority / "ca.crt"), **shown(authority)}
    driver = drivers(registries={"other.example": own})
    with pytest.raises(Unavailable, match="tls: "):
        resolve(driver, f"{closed.address}/app:1")
    assert closed.seen == []


def test_certs_dir_as_dockers(closed, drivers, authority, tmp_path):
    host = tmp_path / "certs.d" / closed.address
    host.mkdir(parents=True)
    shutil.copy(authority / "ca.crt", host / "ca.crt")
    shutil.copy(authority / "client.crt", host / "client.cert")
    shutil.copy(authority / "client.key", host / "client.key")
    driver = drivers(certs_dir=str(tmp_path / "certs.d"))
    assert resolve(driver, f"{closed.address}/app:1").layers
    (host / "client.key").unlink()
    with pytest.raises(FailedPrecondition, match=r"client\.cert cannot be used"):
        resolve(drivers(certs_dir=str(tmp_path / "certs.d")), f"{closed.address}/app:1")


@pytest.mark.row("S25")
def test_insecure_table_of_one_registry(authority, drivers):
    certificate, key = str(authority / "server.crt"), str(authority / "server.key")
    with FaultyRegistry(certificate=certificate, key=key) as registry:
        registry.add_image("app", "1", [LAYER])
        assert resolve(
            drivers(registries={registry.address: {"insecure": True}}), f"{registry.address}/app:1"
        ).layers
        with pytest.raises(Unavailable, match="tls: "):
            resolve(drivers(registries={"127.0.0.1:1": {"insecure": True}}), f"{registry.address}/app:1")


@pytest.mark.row("S25")
def test_plain_http_means_no_tls_at_all(registry, drivers):
    driver = drivers(registries={registry.address: {"plain_http": True}})
    assert resolve(driver, f"{registry.address}/app:1").layers
    assert registry.connections == 1
    with pytest.raises(NotFound):
        resolve(driver, f"{registry.address}/app:2")
