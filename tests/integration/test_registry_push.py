"""Pushes to a registry that fails, refuses, and lies; and to one that does not."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from barque.spi.common import Platform
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, PermissionDenied, Unavailable
from barque.spi.image import Credentials, ImageRequest
from barque.testing.image_lab import MemoryContent, digest, fetched, small_push
from barque.testing.registry import Contents, Fault, FaultyRegistry, PushRules, Tokens
from barque_image_registry.config import RegistryConfig
from barque_image_registry.plugin import RegistryImages

MEGABYTE = 1 << 20
BIG = os.urandom(3 * MEGABYTE + 12345)
SMALL = b"a small layer" * 100
USER = Credentials("user", "secret")
UPLOADS = "/blobs/uploads/"


@pytest.fixture
def contents():
    return Contents(separate=True)


@pytest.fixture
def registry(contents):
    with FaultyRegistry(contents=contents) as registry:
        yield registry


@pytest.fixture
def other():
    """Somebody else's host."""
    with FaultyRegistry(contents=Contents(separate=True)) as registry:
        yield registry


@pytest.fixture
def drivers(tmp_path):
    made = []

    def make(**changes):
        settings = {"backoff": 0.01, "idle_timeout": 1.0, "chunk_size": MEGABYTE} | changes
        made.append(RegistryImages("registry", RegistryConfig(**settings), tmp_path))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(drivers):
    return drivers()


def image(registry, layers=(BIG, SMALL), name="team/app:1", **fields):
    return small_push(f"{registry.address}/{name}", layers, **fields)


def stored(registry, pushed, name="team/app"):
    """Whether all of the image is in the registry, as it is."""
    manifest, media_type = registry.manifests[name, "1"]
    assert (manifest, media_type) == (pushed.manifest, pushed.manifest_type)
    blobs = [*(layer.digest for layer in pushed.layers), digest(pushed.config)]
    return all(
        digest(registry.blobs[blob]) == blob and (name, blob) in registry.contents.held for blob in blobs
    )


def statuses(lines, layer):
    """The statuses of one layer, in order, each once."""
    return list(dict.fromkeys(line.status for line in lines if line.id == layer.digest[7:19]))


def methods(registry, part):
    return [seen.method for seen in registry.asked(part)]


# What goes over the wire


def test_small_blob_goes_in_one_put_big_one_in_chunks(registry, driver):
    pushed = image(registry)
    found = driver.image_push(pushed)
    assert (found.digest, found.size) == (digest(pushed.manifest), len(pushed.manifest))
    assert stored(registry, pushed)
    ranges = [seen.headers["content-range"] for seen in registry.asked(UPLOADS, "PATCH")]
    assert ranges == [
        "0-1048575",
        "1048576-2097151",
        "2097152-3145727",
        f"3145728-{len(BIG) - 1}",
    ]
    puts = [int(seen.headers["content-length"]) for seen in registry.asked(UPLOADS, "PUT")]
    assert sorted(puts) == sorted([0, len(SMALL), len(pushed.config)])
    # Each blob was asked for first, and read once from its beginning: so the store can verify it.
    assert len(registry.asked("/blobs/sha256:", "HEAD")) == 3
    assert sorted(pushed.content.opened) == sorted((layer.digest, 0) for layer in pushed.layers)


def test_progress_in_dockers_words(registry, driver):
    lines = []
    pushed = image(registry, progress=lines.append)
    driver.image_push(pushed)
    big, small = pushed.layers
    assert statuses(lines, big) == ["Preparing", "Pushing", "Pushed"]
    moved = [line.current for line in lines if line.id == big.digest[7:19] and line.status == "Pushing"]
    assert moved == sorted(moved)
    assert moved[-1] == len(BIG)
    lines.clear()
    driver.image_push(replace(pushed, progress=lines.append))
    assert statuses(lines, small) == ["Preparing", "Layer already exists"]


def test_more_layers_than_go_at_a_time_wait(registry, drivers):
    lines = []
    layers = [bytes([n]) * 1000 for n in range(6)]
    pushed = image(registry, layers, progress=lines.append)
    drivers(parallel_uploads=2).image_push(pushed)
    waited = [layer for layer in pushed.layers if "Waiting" in statuses(lines, layer)]
    assert waited == list(pushed.layers[2:])
    assert stored(registry, pushed)


def test_layer_that_comes_twice_is_sent_once(registry, driver):
    pushed = image(registry, [SMALL, SMALL])
    driver.image_push(pushed)
    assert stored(registry, pushed)
    assert len(pushed.content.opened) == 1


def test_blob_is_mounted_from_another_repository(registry, driver):
    driver.image_push(image(registry, name="library/base:1"))
    lines = []
    pushed = image(
        registry,
        progress=lines.append,
        repositories=(f"{registry.address}/library/base", "docker.io/library/x"),
    )
    registry.seen.clear()
    driver.image_push(pushed)
    assert stored(registry, pushed)
    assert {statuses(lines, layer)[-1] for layer in pushed.layers} == {"Mounted from library/base"}
    assert pushed.content.opened == []
    assert all("from=library%2Fx" not in seen.path for seen in registry.seen)


def test_mount_that_is_not_granted_gives_the_session_that_is_used(registry, driver, contents):
    contents.rules.mounts = False
    pushed = image(registry, [SMALL], repositories=(f"{registry.address}/library/base",))
    driver.image_push(pushed)
    assert stored(registry, pushed)
    posts = registry.asked(UPLOADS, "POST")
    assert [("mount=" in seen.path) for seen in posts] == [True, False]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_mount_that_is_refused_is_no_failure(registry, driver, status):
    registry.inject(Fault("status", "mount=", status=status))
    pushed = image(registry, [SMALL], repositories=(f"{registry.address}/library/base",))
    driver.image_push(pushed)
    assert stored(registry, pushed)


@pytest.mark.parametrize(
    "rules", [PushRules(whole=False), PushRules(largest_body=MEGABYTE), PushRules(appends=False)]
)
def test_upload_as_the_registry_wants_it(registry, drivers, contents, rules):
    contents.rules = rules
    pushed = image(registry, [BIG])
    drivers(chunk_size=64 * MEGABYTE).image_push(pushed)
    assert stored(registry, pushed)


@pytest.mark.parametrize("chunk", [2, 64])
def test_chunks_get_smaller_until_a_proxy_lets_them_through(registry, drivers, contents, chunk):
    contents.rules.largest_body = MEGABYTE
    pushed = image(registry, [os.urandom(7 * MEGABYTE)])
    drivers(chunk_size=chunk * MEGABYTE).image_push(pushed)
    assert stored(registry, pushed)
    contents.rules.largest_body = 1000
    with pytest.raises(InvalidArgument, match="takes no body") as caught:
        drivers().image_push(image(registry, [os.urandom(3 * MEGABYTE)], name="team/too-large:1"))
    assert "proxy" in caught.value.hint


def test_least_chunk_of_the_registry_is_obeyed(registry, driver, contents):
    contents.rules.least_chunk = 2 * MEGABYTE
    pushed = image(registry, [BIG])
    driver.image_push(pushed)
    sizes = [int(seen.headers["content-length"]) for seen in registry.asked(UPLOADS, "PATCH")]
    assert sizes == [2 * MEGABYTE, len(BIG) - 2 * MEGABYTE]


@pytest.mark.parametrize("relative", [True, False])
def test_location_keeps_its_query(registry, driver, contents, relative):
    contents.rules.relative = relative
    pushed = image(registry)
    driver.image_push(pushed)
    assert stored(registry, pushed)
    for seen in registry.asked(UPLOADS, "PUT"):
        assert "?state=" in seen.path
        assert "&digest=sha256%3A" in seen.path or "&digest=sha256:" in seen.path


def test_foreign_layer_with_urls_is_skipped(registry, driver):
    pushed = image(registry, [SMALL, BIG])
    document = json.loads(pushed.manifest)
    document["layers"][1] |= {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "urls": ["https://elsewhere.example/layer"],
    }
    lines = []
    pushed = replace(pushed, manifest=json.dumps(document).encode(), progress=lines.append)
    registry.contents.held.add(("team/app", pushed.layers[1].digest))
    driver.image_push(pushed)
    assert statuses(lines, pushed.layers[1])[-1] == "Skipped foreign layer"
    assert pushed.layers[1].digest not in registry.blobs


def test_empty_layer(registry, driver):
    pushed = image(registry, [b""])
    driver.image_push(pushed)
    assert stored(registry, pushed)


def test_pushed_image_is_pulled(registry, driver):
    pushed = image(registry)
    driver.image_push(pushed)
    found = driver.image_resolve(ImageRequest(pushed.reference, Platform()))
    assert (found.manifest, found.config) == (pushed.manifest, pushed.config)


# Broken on the way


@pytest.mark.row("R29", "R30")
def test_broken_chunk_goes_on_where_the_registry_stopped(registry, driver):
    registry.inject(Fault("cut", UPLOADS, method="PATCH", after=300_000, times=3))
    pushed = image(registry, [BIG])
    driver.image_push(pushed)
    assert stored(registry, pushed)
    starts = [
        int(seen.headers["content-range"].partition("-")[0]) for seen in registry.asked(UPLOADS, "PATCH")
    ]
    assert starts[:4] == [0, 300_000, 600_000, 900_000]
    assert len(registry.asked(UPLOADS, "POST")) == 1 + 1  # the layer and the config
    assert len(registry.asked(UPLOADS, "GET")) == 3


@pytest.mark.row("R30")
def test_broken_put_goes_on_in_chunks(registry, drivers):
    registry.inject(Fault("cut", UPLOADS, method="PUT", after=300_000, times=1))
    pushed = image(registry, [BIG])
    drivers(chunk_size=64 * MEGABYTE).image_push(pushed)
    assert stored(registry, pushed)
    (patch,) = registry.asked(UPLOADS, "PATCH")
    assert patch.headers["content-range"] == f"300000-{len(BIG) - 1}"


@pytest.mark.row("R30")
def test_session_that_expired_is_begun_anew(registry, driver):
    registry.inject(Fault("expired", UPLOADS, method="PATCH", times=1))
    pushed = image(registry, [BIG])
    driver.image_push(pushed)
    assert stored(registry, pushed)
    registry.inject(Fault("expired", UPLOADS, method="PUT", times=1))
    again = image(registry, [os.urandom(MEGABYTE * 2)])
    driver.image_push(again)
    assert stored(registry, again)


@pytest.mark.row("R30")
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_answer_that_was_lost(registry, driver, method):
    """The registry did what was asked for: then nothing is sent twice, or a new session is begun."""
    lines = []
    registry.inject(Fault("lost", UPLOADS, method=method, times=1))
    pushed = image(registry, [BIG], progress=lines.append)
    driver.image_push(pushed)
    assert stored(registry, pushed)
    assert statuses(lines, pushed.layers[0])[-1] == "Pushed"
    sent = sum(int(seen.headers["content-length"]) for seen in registry.asked(UPLOADS, "PATCH"))
    assert sent == len(BIG)


@pytest.mark.row("R30")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/blobs/"), ("POST", UPLOADS), ("PATCH", UPLOADS), ("PUT", "/manifests/")]
)
def test_busy_registry_is_asked_again(registry, driver, status, method, path):
    registry.inject(Fault("status", path, method=method, status=status, times=4))
    pushed = image(registry, [BIG])
    driver.image_push(pushed)
    assert stored(registry, pushed)


@pytest.mark.row("R30")
@pytest.mark.parametrize(("method", "path"), [("POST", UPLOADS), ("PATCH", UPLOADS), ("PUT", "/manifests/")])
def test_busy_registry_is_asked_five_times(registry, driver, method, path):
    registry.inject(Fault("status", path, method=method, status=503))
    with pytest.raises(Unavailable, match="status: 503"):
        driver.image_push(image(registry, [BIG]))
    assert len(registry.asked(path, method)) == 5
    assert ("team/app", "1") not in registry.manifests


@pytest.mark.row("R30")
def test_retry_after_is_obeyed_by_pushes(registry, driver):
    registry.inject(
        Fault("status", UPLOADS, method="PATCH", status=429, headers={"Retry-After": "1"}, times=1)
    )
    started = time.monotonic()
    driver.image_push(image(registry, [BIG]))
    assert time.monotonic() - started >= 1


@pytest.mark.row("R30")
def test_refusal_before_the_body_was_read_is_understood(registry, drivers):
    body = json.dumps({"errors": [{"code": "DENIED", "message": "quota exceeded"}]})
    registry.inject(Fault("early", UPLOADS, method="PUT", status=403, body=body))
    with pytest.raises(PermissionDenied, match="denied: quota exceeded"):
        drivers(chunk_size=64 * MEGABYTE).image_push(image(registry, [os.urandom(30 * MEGABYTE)]))
    assert len(registry.asked(UPLOADS, "PUT")) == 1


@pytest.mark.row("R31")
def test_registry_that_takes_no_more_is_given_up(registry, drivers):
    registry.inject(Fault("choke", UPLOADS, method="PUT", after=1000))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="1 seconds"):
        drivers(attempts=1, chunk_size=64 * MEGABYTE).image_push(image(registry, [os.urandom(30 * MEGABYTE)]))
    assert time.monotonic() - started < 5


@pytest.mark.row("R31")
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
def test_cancelled_push_stops_within_a_second(registry, drivers, method):
    driver = drivers(idle_timeout=60.0, chunk_size=64 * MEGABYTE)
    registry.inject(Fault("choke", "/blobs/", method=method, after=1000))
    cancelled = threading.Event()
    pushed = image(registry, [os.urandom(30 * MEGABYTE)], cancelled=cancelled.is_set)
    with ThreadPoolExecutor(1) as pool:
        push = pool.submit(driver.image_push, pushed)
        time.sleep(0.5)
        cancelled.set()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="cancelled"):
            push.result(timeout=10)
    assert time.monotonic() - started < 1


def test_failure_of_one_layer_stops_the_others(registry, drivers):
    driver = drivers(idle_timeout=60.0, parallel_uploads=2, chunk_size=64 * MEGABYTE)
    slow, missing = os.urandom(30 * MEGABYTE), SMALL
    registry.inject(Fault("choke", UPLOADS, method="PUT", after=1000))
    pushed = image(registry, [slow, missing])
    del pushed.content.blobs[digest(missing)]
    started = time.monotonic()
    with pytest.raises(NotFound, match="not in the store"):
        driver.image_push(pushed)
    assert time.monotonic() - started < 5
    assert ("team/app", "1") not in registry.manifests


# Lies


@pytest.mark.row("R28")
@pytest.mark.parametrize("path", [UPLOADS, "/manifests/"])
def test_registry_that_stored_something_else(registry, driver, path):
    registry.inject(
        Fault("headers", path, method="PUT", headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
    )
    with pytest.raises(InvalidArgument, match=r"stored"):
        driver.image_push(image(registry, [SMALL]))


@pytest.mark.row("R28")
@pytest.mark.parametrize("held", ["0-99999999", "0-x", "5-10"])
def test_registry_that_lies_about_what_it_has(registry, driver, held):
    registry.inject(Fault("headers", UPLOADS, method="PATCH", headers={"Range": held}, times=1))
    pushed = image(registry, [BIG])
    driver.image_push(pushed)
    assert stored(registry, pushed)


@pytest.mark.row("R28")
def test_damaged_blob_never_becomes_one_in_the_registry(registry, driver):
    pushed = image(registry, [BIG])
    layer = pushed.layers[0].digest
    pushed.content.blobs[layer] = BIG[:-1] + b"?"
    with pytest.raises(InvalidArgument):
        driver.image_push(pushed)
    assert layer not in registry.blobs
    pushed.content.blobs[layer] = BIG[:-5]
    with pytest.raises(InvalidArgument, match=r"ends before"):
        driver.image_push(pushed)


# Who may, and who is told


@pytest.mark.parametrize(
    ("status", "code", "error", "text"),
    [
        (403, "DENIED", PermissionDenied, "denied: requested access to the resource is denied"),
        (403, "", PermissionDenied, "denied: requested access to the resource is denied"),
        (401, "UNAUTHORIZED", PermissionDenied, "unauthorized: authentication required"),
        (401, "", PermissionDenied, "unauthorized: authentication required"),
        (404, "NAME_UNKNOWN", NotFound, "name unknown: "),
        (400, "NAME_INVALID", InvalidArgument, "name invalid: "),
    ],
)
@pytest.mark.row("R30")
def test_refusals_in_dockers_words(registry, driver, status, code, error, text):
    words = {
        "DENIED": "requested access to the resource is denied",
        "UNAUTHORIZED": "authentication required",
    }
    body = json.dumps({"errors": [{"code": code, "message": words.get(code, "no")}]}) if code else "<html>"
    registry.inject(Fault("status", UPLOADS, method="POST", status=status, body=body))
    with pytest.raises(error) as caught:
        driver.image_push(image(registry, [SMALL]))
    assert text in caught.value.message
    assert len(registry.asked(UPLOADS, "POST")) <= 2  # the layer, and perhaps the config: none of them again


def test_token_is_asked_for_pull_and_push_and_for_the_mount(driver):
    tokens = Tokens(username="user", password="secret")
    with FaultyRegistry(tokens=tokens, contents=Contents(separate=True)) as registry:
        pushed = image(
            registry, [SMALL], credentials=USER, repositories=(f"{registry.address}/library/base",)
        )
        driver.image_push(pushed)
        assert stored(registry, pushed)
        assert set(tokens.scopes) == {
            ("repository:team/app:pull,push",),
            ("repository:team/app:pull,push", "repository:library/base:pull"),
        }


def test_token_without_push_is_denied(driver):
    tokens = Tokens(may_push=False)
    with FaultyRegistry(tokens=tokens, contents=Contents(separate=True)) as registry:
        pushed = image(registry, [SMALL], credentials=USER)
        with pytest.raises(PermissionDenied, match="denied: requested access to the resource is denied"):
            driver.image_push(pushed)


def test_wrong_password_and_none(driver):
    with FaultyRegistry(tokens=Tokens(username="user", password="secret")) as registry:
        for credentials in (None, Credentials("user", "wrong")):
            with pytest.raises(PermissionDenied, match="unauthorized"):
                driver.image_push(image(registry, [SMALL], credentials=credentials))
    with FaultyRegistry(tokens=Tokens(basic=True, username="user", password="secret")) as registry:
        with pytest.raises(PermissionDenied, match="no basic auth credentials"):
            driver.image_push(image(registry, [SMALL]))
        pushed = image(registry, [SMALL], credentials=USER)
        driver.image_push(pushed)


@pytest.mark.row("R32")
def test_token_that_expires_in_mid_push_is_refreshed(drivers):
    tokens = Tokens(uses=4)
    with FaultyRegistry(tokens=tokens, contents=Contents(separate=True)) as registry:
        pushed = image(registry, [BIG])
        drivers(parallel_uploads=1).image_push(pushed)
        assert stored(registry, pushed)
        refused = [seen for seen in registry.seen if seen.path.startswith("/v2/")]
        assert 2 <= len(tokens.scopes) <= len(refused) // 4 + 1


@pytest.mark.row("S24")
def test_upload_elsewhere_gets_no_authorization(other, driver):
    """A Location on another host, as of a blob store: it gets the bytes, but neither credentials nor tokens."""
    with FaultyRegistry(
        tokens=Tokens(username="user", password="secret"), contents=Contents(separate=True)
    ) as registry:
        session = "1234"
        other.contents.sessions[session] = bytearray()
        elsewhere = f"{other.url}/v2/team/app/blobs/uploads/{session}?signed=yes"
        registry.inject(Fault("headers", UPLOADS, method="POST", headers={"Location": elsewhere}, times=1))
        pushed = image(registry, [BIG], credentials=USER)
        with pytest.raises(InvalidArgument, match="manifest blob unknown"):
            driver.image_push(pushed)
        assert digest(BIG) in other.blobs
        assert all("authorization" not in seen.headers for seen in other.seen)
        assert "signed=yes" in other.asked(UPLOADS)[0].path


@pytest.mark.row("S24")
def test_upload_elsewhere_may_not_ask_for_credentials(registry, other, driver):
    challenge = {"WWW-Authenticate": 'Basic realm="give"'}
    other.inject(Fault("status", status=401, headers=challenge))
    elsewhere = f"{other.url}/v2/team/app/blobs/uploads/1"
    registry.inject(Fault("headers", UPLOADS, method="POST", headers={"Location": elsewhere}))
    with pytest.raises(PermissionDenied):
        driver.image_push(image(registry, [SMALL], credentials=USER))
    assert all("authorization" not in seen.headers for seen in other.seen)


@pytest.mark.row("S24")
@pytest.mark.parametrize(
    "location",
    ["http://evil.example/upload", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://u:p@127.0.0.1/x"],
)
def test_location_that_leads_where_it_must_not(registry, driver, location):
    registry.inject(Fault("headers", UPLOADS, method="POST", headers={"Location": location}))
    with pytest.raises((PermissionDenied, InvalidArgument)):
        driver.image_push(image(registry, [SMALL]))


@pytest.mark.row("S24")
def test_manifest_is_not_redirected_elsewhere(registry, other, driver):
    target = f"{other.url}/v2/team/app/manifests/1"
    registry.inject(Fault("status", "/manifests/", method="PUT", status=307, headers={"Location": target}))
    with pytest.raises(BarqueError):
        driver.image_push(image(registry, [SMALL], credentials=USER))
    assert other.seen == []


@pytest.mark.row("R33")
def test_two_pushes_of_one_layer(registry, driver):
    one, two = image(registry, [BIG]), image(registry, [BIG], name="team/other:1")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(driver.image_push, [one, two]))
    assert stored(registry, one)
    assert stored(registry, two, "team/other")


# Limits


def test_rate_limits_hold_for_all_layers_together(registry, drivers):
    driver = drivers(max_bytes_per_second_up=2 * MEGABYTE, max_bytes_per_second_down=2 * MEGABYTE)
    layers = [os.urandom(MEGABYTE), os.urandom(MEGABYTE)]
    pushed = image(registry, layers)
    started = time.monotonic()
    driver.image_push(pushed)
    assert 0.8 <= time.monotonic() - started < 10
    found = driver.image_resolve(ImageRequest(pushed.reference, Platform()))
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda layer: fetched(driver, found, layer), found.layers))
    assert 0.8 <= time.monotonic() - started < 10


def test_no_more_connections_than_allowed(registry, drivers):
    driver = drivers(max_concurrent=1, parallel_uploads=4)
    pushed = image(registry, [bytes([n]) * 100_000 for n in range(4)])
    driver.image_push(pushed)
    assert stored(registry, pushed)
    # One more is the question whether the port speaks TLS.
    assert registry.connections <= 2


def test_memory_stays_bounded(registry, drivers):
    """A blob is read piece by piece as it is sent."""
    data = os.urandom(MEGABYTE) * 20
    content = MemoryContent([data], piece=MEGABYTE)
    taken = []
    whole = content._pieces

    def watched(blob, offset):
        for piece in whole(blob, offset):
            taken.append(len(piece))
            yield piece

    content._pieces = watched
    registry.inject(Fault("choke", UPLOADS, method="PUT", after=1000))
    with pytest.raises(Unavailable):
        drivers(attempts=1, chunk_size=64 * MEGABYTE).image_push(image(registry, [data], content=content))
    assert sum(taken) < len(data)
