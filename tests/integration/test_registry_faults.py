"""Pulls from a registry that fails in every way a network and a broken or hostile server can."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from barque.spi.common import Platform
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, PermissionDenied, Unavailable
from barque.spi.image import Credentials, ImageRequest
from barque.testing import need
from barque.testing.image import MemorySink
from barque.testing.registry import INDEX, MANIFEST, Fault, FaultyRegistry, Tokens
from barque_image_registry.plugin import RegistryConfig, RegistryImages

LAYER = os.urandom(900_000)
USER = Credentials("user", "secret")


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def other():
    """A second registry: somebody else's host."""
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def drivers(tmp_path):
    made = []

    def make(**changes):
        driver = RegistryImages(
            "registry", RegistryConfig(**{"backoff": 0.01, "idle_timeout": 1.0} | changes), tmp_path
        )
        made.append(driver)
        return driver

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(drivers):
    return drivers()


def resolve(driver, registry, name="app:1", **changes):
    return driver.image_resolve(ImageRequest(f"{registry.address}/{name}", Platform(), **changes))


def fetch(driver, image, sink=None, layer=0):
    sink = sink or MemorySink()
    driver.image_fetch(image, image.layers[layer], sink)
    return sink


def authorizations(registry):
    return [seen.headers["authorization"] for seen in registry.seen if "authorization" in seen.headers]


# Layers: wrong, short, long, interrupted


@pytest.mark.row("R28", "R29")
@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_interrupted_layer_goes_on_by_range(registry, driver, kind):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault(kind, "/blobs/", times=3, after=200_000))
    sink = fetch(driver, image)
    assert sink.data == LAYER
    ranges = [seen.headers.get("range") for seen in registry.asked(image.layers[0].digest)]
    assert len(ranges) == 4
    if kind == "truncate":
        assert ranges == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]
        assert sink.restarts == 0


@pytest.mark.row("R29")
def test_answer_to_the_whole_blob_starts_again(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("whole", "/blobs/"))
    sink = fetch(driver, image, MemorySink(b"old bytes"))
    assert sink.data == LAYER
    assert sink.restarts == 1


@pytest.mark.row("R29")
def test_range_that_was_not_asked_for_starts_again(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(
        Fault("status", "/blobs/", status=206, body="x", headers={"Content-Range": "bytes 5-10/11"}, times=1)
    )
    sink = fetch(driver, image, MemorySink(LAYER[:100]))
    assert sink.data == LAYER
    assert sink.restarts == 1


@pytest.mark.row("R29")
def test_range_that_cannot_be_satisfied_starts_again(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("status", "/blobs/", status=416, times=1))
    sink = fetch(driver, image, MemorySink(LAYER[:100]))
    assert sink.data == LAYER
    assert sink.restarts == 1


@pytest.mark.row("R29")
def test_blob_longer_than_it_can_be_starts_again(registry, driver):
    registry.add_image("app", "1", [b"short"])
    image = resolve(driver, registry)
    sink = fetch(driver, image, MemorySink(b"longer than the layer"))
    assert sink.data == b"short"
    assert sink.restarts == 1


@pytest.mark.row("R28")
def test_truncation_that_does_not_end_is_given_up(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("truncate", "/blobs/", after=0))
    with pytest.raises(Unavailable, match="EOF"):
        fetch(driver, image)
    assert len(registry.asked(image.layers[0].digest)) == 5


@pytest.mark.row("R28")
def test_extra_bytes_never_reach_the_sink(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("extra", "/blobs/"))
    sink = MemorySink()
    with pytest.raises(Unavailable, match="bytes announced"):
        fetch(driver, image, sink)
    assert len(sink.data) <= len(LAYER)
    assert len(registry.asked(image.layers[0].digest)) == 5


@pytest.mark.row("R28")
def test_flipped_bit_is_left_to_the_sink(registry, driver):
    """The engine's store verifies what it writes; its error must reach the caller as it is."""
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("corrupt", "/blobs/"))
    sink = fetch(driver, image)
    assert f"sha256:{hashlib.sha256(sink.data).hexdigest()}" != image.layers[0].digest


# Manifests and configs


@pytest.mark.row("R28", "S23")
@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
def test_manifest_or_config_with_another_digest_is_refused(registry, driver, path):
    added = registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("corrupt", path))
    with pytest.raises(InvalidArgument, match=r"verification failed|not JSON"):
        resolve(driver, registry, f"app@{added.manifest}")


@pytest.mark.row("S23")
def test_announced_digest_must_be_that_of_the_manifest(registry, driver):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("headers", "/manifests/", headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(InvalidArgument, match="manifest verification failed"):
        resolve(driver, registry)


@pytest.mark.row("S23")
def test_media_type_mismatch_is_refused(registry, driver):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("headers", "/manifests/", headers={"Content-Type": INDEX}))
    with pytest.raises(InvalidArgument, match="does not match"):
        resolve(driver, registry)


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "change", [{"size": 3}, {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}]
)
def test_manifest_must_be_what_the_index_says(registry, driver, change):
    added = registry.add_image("app", "", [LAYER])
    size = len(registry.manifests["app", added.manifest][0])
    platform = {"os": "linux", "architecture": "amd64"}
    entry = {"mediaType": MANIFEST, "digest": added.manifest, "size": size, "platform": platform, **change}
    registry.add_manifest("app", "1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)
    with pytest.raises(InvalidArgument, match="differ from what the index says"):
        resolve(driver, registry)


def test_index_gives_the_platforms_manifest_and_its_own_digest(registry, driver):
    entries = []
    for architecture in ("arm64", "amd64"):
        added = registry.add_image("app", "", [LAYER, architecture.encode()], architecture)
        size = len(registry.manifests["app", added.manifest][0])
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": MANIFEST, "digest": added.manifest, "size": size, "platform": platform})
    digest = registry.add_manifest(
        "app", "1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX
    )
    image = resolve(driver, registry)
    assert image.repository_digest == digest
    assert json.loads(image.config)["architecture"] == "amd64"
    assert image.name == f"{registry.address}/app:1"
    assert fetch(driver, image, layer=1).data == b"amd64"
    by_digest = resolve(driver, registry, f"app@{digest}")
    assert by_digest.name == f"{registry.address}/app@{digest}"
    assert by_digest.manifest == image.manifest
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        driver.image_resolve(ImageRequest(f"{registry.address}/app:1", Platform("linux", "s390x")))


def test_single_image_for_another_platform_is_not_found(registry, driver):
    registry.add_image("app", "1", [LAYER], "arm64")
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        resolve(driver, registry)


@pytest.mark.row("S22")
def test_manifest_of_100_megabytes_costs_no_memory(registry, driver):
    registry.add_manifest("app", "1", b'{"schemaVersion":2,"x":"' + b"x" * (100 << 20) + b'"}')
    gc.collect()
    before = _peak_kib()
    with pytest.raises(InvalidArgument, match="larger than 4194304 bytes"):
        resolve(driver, registry)
    registry.inject(Fault("headers", headers={"Content-Length": ""}))
    with pytest.raises(InvalidArgument, match="larger than 4194304 bytes"):
        resolve(driver, registry)
    assert _peak_kib() - before < 100 << 10


@pytest.mark.row("S22")
def test_config_larger_than_the_limit_is_not_asked_for(registry, driver):
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": "sha256:" + "0" * 64,
        "size": 9 << 20,
    }
    registry.add_image("app", "1", [LAYER], config=config)
    with pytest.raises(InvalidArgument, match="more than 8388608"):
        resolve(driver, registry)
    assert not registry.asked("/blobs/")


@pytest.mark.row("S24")
def test_foreign_layer_is_refused(registry, driver):
    added = registry.add_image("app", "", [LAYER])
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": added.layers[0],
        "size": len(LAYER),
    }
    document = json.loads(registry.manifests["app", added.manifest][0])
    document["layers"] = [layer | {"urls": ["https://evil.example/layer"]}]
    registry.add_manifest("app", "1", document)
    with pytest.raises(InvalidArgument, match="foreign"):
        resolve(driver, registry)


def _peak_kib() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


# Busy, broken, silent


@pytest.mark.row("R30")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_registry_is_asked_five_times(registry, driver, status):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("status", "/manifests/", status=status))
    with pytest.raises(Unavailable, match=f"status: {status}"):
        resolve(driver, registry)
    assert len(registry.asked("/manifests/")) == 5


@pytest.mark.row("R30")
def test_pull_goes_on_after_trouble(registry, driver):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("status", "/manifests/", status=503, times=2))
    registry.inject(Fault("reset", "/manifests/", times=1))
    registry.inject(Fault("status", "/blobs/", status=429, times=4))
    image = resolve(driver, registry)
    registry.inject(Fault("reset", "/blobs/", times=2, after=1000))
    assert fetch(driver, image).data == LAYER


@pytest.mark.row("R30")
def test_retry_after_is_obeyed(registry, driver):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("status", "/manifests/", status=429, headers={"Retry-After": "1"}, times=1))
    started = time.monotonic()
    resolve(driver, registry)
    assert 1 <= time.monotonic() - started < 3


@pytest.mark.row("R30")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
def test_final_answer_is_not_asked_for_again(registry, driver, status):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("status", "/manifests/", status=status))
    with pytest.raises(BarqueError):
        resolve(driver, registry)
    assert len(registry.asked("/manifests/")) == 1


@pytest.mark.parametrize(
    ("status", "code", "error", "text"),
    [
        (
            404,
            "MANIFEST_UNKNOWN",
            NotFound,
            "manifest for {}/app:1 not found: manifest unknown: manifest unknown",
        ),
        (404, "", NotFound, "manifest for {}/app:1 not found: manifest unknown: manifest unknown"),
        (404, "NAME_UNKNOWN", NotFound, "repository {}/app not found: name unknown: name unknown"),
        (
            403,
            "DENIED",
            NotFound,
            "pull access denied for {}/app, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied",
        ),
        (401, "UNAUTHORIZED", NotFound, "pull access denied for {}/app, repository does not exist"),
        (429, "TOOMANYREQUESTS", Unavailable, "toomanyrequests: toomanyrequests"),
    ],
)
def test_errors_are_in_dockers_words(registry, driver, status, code, error, text):
    words = code.lower().replace("_", " ")
    body = json.dumps({"errors": [{"code": code, "message": words}]}) if code else "<html>"
    registry.inject(Fault("status", "/manifests/", status=status, body=body))
    with pytest.raises(error) as caught:
        resolve(driver, registry)
    assert text.format(registry.address) in caught.value.message


@pytest.mark.parametrize(
    "body",
    ["[" * 60_000, '{"errors":[]}', '{"errors":[1]}', '{"errors":{}}', '{"errors":[{"code":1}]}', "\x1b[31m"],
)
def test_malformed_error_body_is_no_trouble(registry, driver, body):
    registry.inject(Fault("status", "/manifests/", status=404, body=body))
    with pytest.raises(NotFound, match="manifest for"):
        resolve(driver, registry)


def test_control_characters_of_the_registry_do_not_reach_the_terminal(registry, driver):
    body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "\x1b[31mred\r\nline"}]})
    registry.inject(Fault("status", "/manifests/", status=404, body=body))
    with pytest.raises(NotFound) as caught:
        resolve(driver, registry)
    assert caught.value.message.isprintable()


@pytest.mark.row("R31")
@pytest.mark.parametrize("kind", ["stall", "drip"])
@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
def test_silent_or_dripping_server_is_given_up(registry, drivers, kind, path):
    driver = drivers(attempts=2)
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault(kind, path, after=10, pause=0.3))
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"in 1 seconds|for 1 seconds"):
        resolve(driver, registry) if path == "/manifests/" else fetch(driver, image)
    assert time.monotonic() - started < 8


@pytest.mark.row("R31")
def test_one_stall_is_survived(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry.inject(Fault("stall", "/blobs/", times=1, after=300_000))
    assert fetch(driver, image).data == LAYER


@pytest.mark.row("R31")
@pytest.mark.parametrize("phase", ["resolve", "fetch", "backoff"])
def test_cancel_within_a_second(registry, drivers, phase):
    driver = drivers(idle_timeout=60.0, backoff=30.0)
    registry.add_image("app", "1", [LAYER])
    cancelled = threading.Event()
    image = resolve(driver, registry, cancelled=cancelled.is_set)
    registry.inject(Fault("status", status=503) if phase == "backoff" else Fault("stall", after=10))
    with ThreadPoolExecutor(1) as pool:
        work = partial(resolve, driver, registry, cancelled=cancelled.is_set)
        pull = pool.submit(partial(fetch, driver, image) if phase == "fetch" else work)
        time.sleep(0.3)
        cancelled.set()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="cancelled"):
            pull.result(timeout=5)
    assert time.monotonic() - started < 1


@pytest.mark.row("R33")
def test_cancelling_one_pull_spares_the_other(registry, driver):
    registry.add_image("app", "1", [LAYER])
    cancelled = threading.Event()
    one = resolve(driver, registry, cancelled=cancelled.is_set)
    two = resolve(driver, registry)
    cancelled.set()
    with pytest.raises(Unavailable, match="cancelled"):
        fetch(driver, one)
    assert fetch(driver, two).data == LAYER


# Authorization


def token_registry(**tokens):
    return FaultyRegistry(tokens=Tokens(**tokens))


def test_anonymous_token(driver):
    with token_registry() as registry:
        registry.add_image("team/app", "1", [LAYER])
        image = resolve(driver, registry, "team/app:1")
        assert fetch(driver, image).data == LAYER
        (asked,) = registry.asked("/token")
        assert asked.path == "/token?service=test&scope=repository%3Ateam%2Fapp%3Apull"
        assert "authorization" not in asked.headers


def test_token_for_credentials_and_identity_token(driver):
    with token_registry(username="user", password="secret") as registry:
        registry.add_image("app", "1", [LAYER])
        assert resolve(driver, registry, credentials=USER).layers
        with pytest.raises(PermissionDenied, match="unauthorized"):
            resolve(driver, registry, credentials=Credentials("user", "wrong"))
        with pytest.raises(NotFound, match="pull access denied"):
            resolve(driver, registry)
    with token_registry(refresh_token="identity") as registry:
        registry.add_image("app", "1", [LAYER])
        assert resolve(driver, registry, credentials=Credentials(identity_token="identity")).layers
        assert registry.asked("/token")[0].method == "POST"


def test_basic_authorization(driver):
    with token_registry(username="user", password="secret", basic=True) as registry:
        registry.add_image("app", "1", [LAYER])
        image = resolve(driver, registry, credentials=USER)
        assert fetch(driver, image).data == LAYER
        with pytest.raises(PermissionDenied, match="no basic auth credentials"):
            resolve(driver, registry)
        with pytest.raises(PermissionDenied):
            resolve(driver, registry, credentials=Credentials("user", "wrong"))


def test_token_of_one_user_is_not_used_for_another(driver):
    with token_registry(username="user", password="secret") as registry:
        registry.add_image("app", "1", [LAYER])
        resolve(driver, registry, credentials=USER)
        with pytest.raises(BarqueError):
            resolve(driver, registry, credentials=Credentials("other", "secret"))


@pytest.mark.row("R32")
def test_token_that_expires_in_mid_pull_is_renewed_once(driver):
    with token_registry() as registry:
        registry.add_image("app", "1", [LAYER, b"two", b"three", b"four"])
        image = resolve(driver, registry)
        registry.expire_tokens()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: bytes(fetch(driver, image, layer=number).data), range(4)))
        assert found == [LAYER, b"two", b"three", b"four"]
        assert len(registry.asked("/token")) == 2


@pytest.mark.row("R32")
def test_layer_goes_on_with_a_new_token(driver):
    with token_registry() as registry:
        registry.add_image("app", "1", [LAYER])
        image = resolve(driver, registry)
        registry.inject(Fault("truncate", "/blobs/", times=1, after=400_000))

        class Expiring(MemorySink):
            def write(self, data):
                registry.expire_tokens()
                super().write(data)

        assert fetch(driver, image, Expiring()).data == LAYER
        assert len(registry.asked("/token")) == 2


@pytest.mark.row("R32")
def test_registry_that_takes_no_token_is_asked_twice(driver):
    with token_registry(uses=0) as registry:
        registry.add_image("app", "1", [LAYER])
        with pytest.raises(NotFound, match="pull access denied"):
            resolve(driver, registry)
        assert len(registry.asked("/manifests/")) == 2
        assert len(registry.asked("/token")) == 1


@pytest.mark.parametrize(
    "answer", ["", "[]", '{"token":"a\\r\\nX: y"}', '{"token":""}', '{"expires_in":5}', "[" * 50_000]
)
def test_answer_that_is_no_token(driver, answer):
    with token_registry() as registry:
        registry.add_image("app", "1", [LAYER])
        registry.inject(Fault("status", "/token", status=200, body=answer))
        with pytest.raises(Unavailable, match="not a token"):
            resolve(driver, registry)


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    "realm",
    ["http://evil.example/token", "ftp://127.0.0.1/", "//evil/", "https://user:pw@evil.example/", "x y"],
)
def test_hostile_realm_gets_nothing(driver, realm):
    with token_registry(username="user", password="secret", realm=realm) as registry:
        registry.add_image("app", "1", [LAYER])
        with pytest.raises((PermissionDenied, InvalidArgument)):
            resolve(driver, registry, credentials=USER)
        assert authorizations(registry) == []


@pytest.mark.row("S24")
def test_redirected_token_request_loses_the_password(driver, other):
    with token_registry(username="user", password="secret") as registry:
        registry.add_image("app", "1", [LAYER])
        registry.inject(Fault("status", "/token", status=307, headers={"Location": f"{other.url}/token"}))
        with pytest.raises(BarqueError):
            resolve(driver, registry, credentials=USER)
        assert other.asked("/token")
        assert authorizations(other) == []


@pytest.mark.row("S24")
def test_redirected_identity_token_is_not_sent(driver, other):
    with token_registry(refresh_token="identity") as registry:
        registry.add_image("app", "1", [LAYER])
        registry.inject(Fault("status", "/token", status=307, headers={"Location": f"{other.url}/token"}))
        with pytest.raises(PermissionDenied):
            resolve(driver, registry, credentials=Credentials(identity_token="identity"))
        assert other.seen == []


@pytest.mark.row("S24")
def test_cross_origin_redirect_of_a_layer_gets_no_authorization(driver, other):
    with token_registry(username="user", password="secret") as registry:
        registry.add_image("app", "1", [LAYER])
        image = resolve(driver, registry, credentials=USER)
        digest = other.add_blob(LAYER)
        target = f"{other.url}/v2/x/blobs/{digest}?signature=s"
        registry.inject(Fault("status", "/blobs/", status=307, headers={"Location": target}))
        sink = fetch(driver, image, MemorySink(LAYER[:1000]))
        assert sink.data == LAYER
        (seen,) = other.seen
        assert "authorization" not in seen.headers
        assert seen.headers["range"] == "bytes=1000-"
        assert authorizations(registry)


@pytest.mark.row("S24")
def test_redirect_target_cannot_ask_for_credentials(driver, registry):
    with token_registry(username="user", password="secret", basic=True) as hostile:
        registry.add_image("app", "1", [LAYER])
        image = resolve(driver, registry, credentials=USER)
        target = f"{hostile.url}/v2/x/blobs/{hostile.add_blob(LAYER)}"
        registry.inject(Fault("status", "/blobs/", status=302, headers={"Location": target}))
        with pytest.raises(BarqueError):
            fetch(driver, image)
        assert authorizations(hostile) == []


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    "location", ["http://evil.example/x", "ftp://127.0.0.1/x", "https://u:p@127.0.0.1/", "file:///etc/passwd"]
)
def test_redirect_to_where_it_must_not_go(registry, driver, location):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("status", "/manifests/", status=302, headers={"Location": location}))
    with pytest.raises((PermissionDenied, InvalidArgument)):
        resolve(driver, registry)


def test_endless_redirects_end(registry, driver):
    registry.inject(Fault("status", "/manifests/", status=302, headers={"Location": "/v2/app/manifests/1"}))
    with pytest.raises(Unavailable, match="redirects"):
        resolve(driver, registry)
    assert len(registry.asked("/manifests/")) == 6


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = need.tool("openssl")
    directory = tmp_path_factory.mktemp("tls")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return str(directory / "cert.pem"), str(directory / "key.pem")


@pytest.fixture
def secure(certificate):
    with FaultyRegistry(certificate=certificate[0], key=certificate[1]) as registry:
        registry.add_image("app", "1", [LAYER])
        yield registry


@pytest.mark.row("S25")
def test_unknown_certificate_is_refused_without_a_word_in_plain(secure, driver):
    with pytest.raises(Unavailable, match=r"tls: .*self.signed") as caught:
        resolve(driver, secure, credentials=USER)
    assert "ca_file" in caught.value.hint
    assert secure.seen == []
    assert secure.connections == 1


@pytest.mark.row("S25")
def test_certificate_of_another_name_is_refused(secure, drivers, certificate):
    driver = drivers(ca_file=certificate[0])
    with pytest.raises(Unavailable, match=r"tls: .*localhost"):
        driver.image_resolve(ImageRequest(f"localhost:{secure.port}/app:1", Platform()))


def test_configured_authority_is_trusted(secure, drivers, certificate):
    driver = drivers(ca_file=certificate[0])
    assert fetch(driver, resolve(driver, secure)).data == LAYER


def test_listed_registry_needs_no_certificate(secure, drivers):
    driver = drivers(insecure_registries=(secure.address,))
    assert fetch(driver, resolve(driver, secure)).data == LAYER


@pytest.mark.row("S24")
def test_redirect_from_tls_to_plain_is_refused(secure, other, drivers, certificate):
    driver = drivers(ca_file=certificate[0])
    image = resolve(driver, secure)
    target = f"{other.url}/v2/x/blobs/{other.add_blob(LAYER)}"
    secure.inject(Fault("status", "/blobs/", status=307, headers={"Location": target}))
    with pytest.raises(PermissionDenied, match="not https"):
        fetch(driver, image)
    assert other.seen == []


@pytest.mark.row("R28", "R31")
def test_faults_over_tls(secure, drivers, certificate):
    driver = drivers(ca_file=certificate[0])
    image = resolve(driver, secure)
    secure.inject(Fault("truncate", "/blobs/", times=1, after=300_000))
    secure.inject(Fault("reset", "/blobs/", times=1, after=10_000))
    secure.inject(Fault("stall", "/blobs/", times=1, after=10_000))
    assert fetch(driver, image).data == LAYER


# Mirrors and connections


def test_mirror_serves_docker_io_and_gets_no_credentials(registry, drivers):
    driver = drivers(mirrors=("http://127.0.0.1:9/", registry.url))
    registry.add_image("library/alpine", "latest", [LAYER])
    image = driver.image_resolve(ImageRequest("alpine", Platform(), USER))
    assert image.name == "docker.io/library/alpine:latest"
    assert fetch(driver, image).data == LAYER
    assert authorizations(registry) == []


def test_layer_that_a_mirror_lost_comes_from_the_next(registry, other, drivers):
    driver = drivers(mirrors=(registry.url, other.url))
    for mirror in (registry, other):
        added = mirror.add_image("library/alpine", "latest", [LAYER])
    image = driver.image_resolve(ImageRequest("alpine", Platform()))
    del registry.blobs[added.layers[0]]
    assert fetch(driver, image).data == LAYER
    assert other.asked(added.layers[0])


def test_connection_is_used_again(registry, driver):
    registry.add_image("app", "1", [LAYER, b"two"])
    for _ in range(5):
        image = resolve(driver, registry)
        fetch(driver, image)
        fetch(driver, image, layer=1)
    # One a resolve is the question whether the port speaks TLS.
    assert registry.connections <= 5 + 1


def test_connection_that_died_while_idle_is_replaced(registry, driver):
    registry.add_image("app", "1", [LAYER])
    image = resolve(driver, registry)
    registry._server.hang_up()
    assert fetch(driver, image).data == LAYER
    assert len(registry.asked(image.layers[0].digest)) == 1


def test_nobody_listens(registry, driver):
    registry.close()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="Connection refused"):
        resolve(driver, registry)
    assert time.monotonic() - started < 1
