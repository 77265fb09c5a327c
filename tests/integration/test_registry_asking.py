"""Tags, search, login, description; and which of an index's images is taken."""

from __future__ import annotations

import json
import os

import pytest

from barque.spi.common import Platform
from barque.spi.errors import (
    BarqueError,
    InvalidArgument,
    NotFound,
    NotImplemented,
    PermissionDenied,
    Unavailable,
)
from barque.spi.image import Credentials, ImageRequest, ImageSearch
from barque.testing.registry import INDEX, MANIFEST, Fault, FaultyRegistry, Tokens
from barque_image_registry.config import RegistryConfig
from barque_image_registry.plugin import RegistryImages

LAYER = os.urandom(1000)
AMD64 = Platform()
USER = Credentials("user", "secret")


@pytest.fixture
def registry():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def driver(tmp_path):
    driver = RegistryImages("registry", RegistryConfig(backoff=0.01, idle_timeout=1.0), tmp_path)
    yield driver
    driver.close()


def request(registry, name, platform=AMD64, **fields):
    return ImageRequest(f"{registry.address}/{name}", platform, **fields)


# Tags


def test_all_tags_over_several_pages(registry, driver):
    registry.contents.page = 7
    for number in range(30):
        registry.add_image("team/app", f"v{number}", [LAYER])
    found = driver.image_list(request(registry, "team/app"))
    assert sorted(found) == sorted(f"{registry.address}/team/app:v{number}" for number in range(30))
    assert len(registry.asked("/tags/list")) == 5


def test_tags_with_a_token_of_the_repository(driver):
    with FaultyRegistry(tokens=Tokens(username="user", password="secret")) as registry:
        registry.add_image("team/app", "1", [LAYER])
        assert driver.image_list(request(registry, "team/app", credentials=USER))
        assert registry.tokens.scopes == [("repository:team/app:pull",)]


@pytest.mark.row("S22", "S24")
@pytest.mark.parametrize(
    ("link", "error"),
    [
        ("<https://evil.example/v2/app/tags/list?last=a>; rel=next", InvalidArgument),
        ("<ftp://x/>; rel=next", InvalidArgument),
    ],
)
def test_list_that_goes_on_elsewhere(registry, driver, link, error):
    registry.add_image("app", "1", [LAYER])
    registry.inject(Fault("headers", "/tags/list", headers={"Link": link}))
    with pytest.raises(error):
        driver.image_list(request(registry, "app", credentials=USER))


@pytest.mark.row("S22")
def test_list_that_leads_back_to_itself_ends(registry, driver):
    registry.add_image("app", "1", [LAYER])
    link = '</v2/app/tags/list?n=1000>; rel="next"'
    registry.inject(Fault("headers", "/tags/list", headers={"Link": link}))
    assert driver.image_list(request(registry, "app")) == (f"{registry.address}/app:1",)
    assert len(registry.asked("/tags/list")) == 2


@pytest.mark.row("S22", "S23")
def test_names_that_are_none_are_left_out(registry, driver):
    body = json.dumps({"name": "app", "tags": ["good", "../etc", "a b", "\x1b[31m", ""]})
    registry.inject(Fault("status", "/tags/list", status=200, body=body))
    assert driver.image_list(request(registry, "app")) == (f"{registry.address}/app:good",)
    registry.heal()
    registry.inject(Fault("status", "/tags/list", status=200, body=json.dumps({"tags": [1]})))
    with pytest.raises(InvalidArgument, match="no list of names"):
        driver.image_list(request(registry, "app"))


@pytest.mark.row("S22")
def test_list_of_100_megabytes_is_not_read(registry, driver):
    for path in ("/tags/list", "/v1/search"):
        registry.inject(Fault("status", path, status=200, body='{"tags": ["' + "x" * (100 << 20) + '"]}'))
    with pytest.raises(InvalidArgument, match="larger than"):
        driver.image_list(request(registry, "app"))
    with pytest.raises(InvalidArgument, match="larger than"):
        driver.image_search(ImageSearch(f"{registry.address}/app"))


def test_tags_of_no_repository(registry, driver):
    with pytest.raises(NotFound, match=r"repository .*/app not found"):
        driver.image_list(request(registry, "app"))


# Search


def test_search_of_a_registry_that_has_it(registry, driver):
    registry.contents.found = [
        {
            "name": "team/app",
            "description": "An \x1b[31mapp",
            "star_count": 7,
            "is_official": True,
            "is_automated": False,
        },
        {"name": ""},
        "no result",
    ]
    (found,) = driver.image_search(ImageSearch(f"{registry.address}/ap p&x"))
    assert (found.name, found.description, found.stars, found.official, found.automated) == (
        "team/app", "An  [31mapp", 7, True, False,
    )  # fmt: skip
    assert registry.seen[-1].path == "/v1/search?q=ap+p%26x&n=25"


def test_search_in_the_catalog(registry, driver):
    registry.contents.page = 2
    for name in ("team/app", "team/application", "other/thing", "z/app"):
        registry.add_image(name, "1", [LAYER])
    found = driver.image_search(ImageSearch(f"{registry.address}/APP"))
    assert [result.name for result in found] == [
        f"{registry.address}/{name}" for name in ("team/app", "team/application", "z/app")
    ]
    assert len(driver.image_search(ImageSearch(f"{registry.address}/app", limit=2))) == 2


def test_registry_without_search_and_catalog(registry, driver):
    registry.contents.catalog = False
    with pytest.raises(NotImplemented, match="cannot be searched"):
        driver.image_search(ImageSearch(f"{registry.address}/app"))


@pytest.mark.parametrize("term", ["", "https://x/y", "x" * 300])
def test_term_that_is_none(driver, term):
    with pytest.raises(InvalidArgument):
        driver.image_search(ImageSearch(term))


# Login


def test_login_gives_an_identity_token_that_pulls(driver):
    tokens = Tokens(username="user", password="secret", identity="identity-1")
    with FaultyRegistry(tokens=tokens) as registry:
        registry.add_image("app", "1", [LAYER])
        assert driver.image_login(registry.address, USER) == "identity-1"
        (asked,) = registry.asked("/token")
        assert "offline_token=true" in asked.path
        assert "scope" not in asked.path
        tokens.refresh_token = "identity-1"
        credentials = Credentials("user", identity_token="identity-1")
        assert driver.image_resolve(request(registry, "app:1", credentials=credentials)).layers


@pytest.mark.parametrize("basic", [True, False])
def test_wrong_credentials_in_dockers_words(driver, basic):
    with FaultyRegistry(tokens=Tokens(username="user", password="secret", basic=basic)) as registry:
        assert driver.image_login(registry.url, USER) == ""
        with pytest.raises(PermissionDenied) as caught:
            driver.image_login(f"{registry.address}/", Credentials("user", "wrong"))
        assert caught.value.message.startswith(f'Get "{registry.url}/v2/": unauthorized: ')


def test_login_where_nobody_asks_for_it_and_where_nobody_is(registry, driver):
    assert driver.image_login(registry.address, USER) == ""
    assert all("authorization" not in seen.headers for seen in registry.seen)
    registry.close()
    with pytest.raises(Unavailable, match="refused"):
        driver.image_login(registry.address, USER)


@pytest.mark.row("S24")
@pytest.mark.parametrize("realm", ["http://evil.example/token", "ftp://127.0.0.1/"])
def test_hostile_realm_gets_no_password(driver, realm):
    with FaultyRegistry(tokens=Tokens(realm=realm)) as registry, pytest.raises(BarqueError):
        driver.image_login(registry.address, USER)


# Description and choice


def nested(registry, depth, architecture="amd64", **platform):
    """`depth` indexes around one image; the digest of the outermost."""
    added = registry.add_image("app", "", [LAYER, architecture.encode()], architecture)
    pointer, media_type = added.manifest, MANIFEST
    shown = {"platform": {"os": "linux", "architecture": architecture, **platform}}
    for level in range(depth):
        entry = {
            "mediaType": media_type,
            "digest": pointer,
            "size": len(registry.manifests["app", pointer][0]),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [entry | (shown if level == 0 else {})],
        }
        pointer, media_type = registry.add_manifest("app", "", document, INDEX), INDEX
    return pointer


def index_of(registry, *digests, extra=()):
    entries = [
        {
            "mediaType": registry.manifests["app", d][1],
            "digest": d,
            "size": len(registry.manifests["app", d][0]),
        }
        for d in digests
    ]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, *extra]}
    return registry.add_manifest("app", "1", document, INDEX)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_image_within_indexes_within_indexes(registry, driver, depth):
    outer = index_of(registry, nested(registry, depth, "s390x"), nested(registry, depth, "amd64"))
    image = driver.image_resolve(request(registry, "app:1"))
    assert json.loads(image.config)["architecture"] == "amd64"
    assert image.repository_digest == outer


@pytest.mark.row("S22")
def test_indexes_that_are_too_deep_or_too_many(registry, driver):
    index_of(registry, nested(registry, 6))
    with pytest.raises(InvalidArgument, match="deeper"):
        driver.image_resolve(request(registry, "app:1"))
    index_of(registry, *(nested(registry, 1, f"arch{number}") for number in range(20)))
    asked = len(registry.seen)
    with pytest.raises(InvalidArgument, match="more than"):
        driver.image_resolve(request(registry, "app:1"))
    assert len(registry.seen) - asked < 5


@pytest.mark.parametrize(("have", "want"), [("v6", "v7"), ("v5", "v6")])
def test_older_arm_will_do(registry, driver, have, want):
    index_of(registry, nested(registry, 1, "arm", variant=have))
    assert driver.image_resolve(request(registry, "app:1", Platform("linux", "arm", want))).layers
    with pytest.raises(NotFound, match="no matching manifest"):
        driver.image_resolve(request(registry, "app:1", Platform("linux", "amd64")))


def test_attestations_and_artifacts_are_left_alone(registry, driver):
    added = registry.add_image("app", "", [LAYER])
    entry = {
        "mediaType": MANIFEST,
        "digest": added.manifest,
        "size": len(registry.manifests["app", added.manifest][0]),
    }
    unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
    signature = {"artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json"}
    index_of(registry, extra=[entry | unknown, entry | signature])
    with pytest.raises(NotFound, match="no matching manifest"):
        driver.image_resolve(request(registry, "app:1"))


@pytest.mark.parametrize(
    "change",
    [
        {"artifactType": "application/vnd.example+json", "config": "application/vnd.oci.empty.v1+json"},
        {"config": "application/vnd.cncf.helm.config.v1+json"},
    ],
)
def test_artifact_is_no_image(registry, driver, change):
    config = {"mediaType": change["config"], "digest": "sha256:" + "0" * 64, "size": 2}
    registry.add_image("app", "1", [LAYER], **{**change, "config": config})
    shown = change.get("artifactType") or change["config"]
    with pytest.raises(InvalidArgument) as caught:
        driver.image_resolve(request(registry, "app:1"))
    assert caught.value.message == f"unsupported media type {shown!r}"


def test_description_of_index_and_image(registry, driver):
    single = registry.add_image("one", "1", [LAYER], "arm64")
    found = driver.image_describe(request(registry, "one:1"))
    assert (found.descriptor.digest, found.descriptor.media_type) == (single.manifest, MANIFEST)
    assert found.platforms == (Platform("linux", "arm64"),)
    added = registry.add_image("app", "", [LAYER])
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": added.manifest,
            "size": 5,
            "platform": {"os": "linux", "architecture": a, "variant": v},
        }
        for a, v in (("amd64", ""), ("arm", "v7"), ("unknown", ""))
    ]
    entries[2]["platform"]["os"] = "unknown"
    digest = index_of(registry, extra=entries)
    found = driver.image_describe(request(registry, "app:1"))
    assert (found.descriptor.digest, found.descriptor.media_type) == (digest, INDEX)
    assert found.descriptor.size == len(registry.manifests["app", digest][0])
    assert found.platforms == (Platform("linux", "amd64"), Platform("linux", "arm", "v7"))
