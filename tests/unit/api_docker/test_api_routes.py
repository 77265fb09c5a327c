"""Routing: every operation of the swagger is served or refused by name; versions; unknown paths."""

import re
from pathlib import Path

import pytest

from barque_api_docker.router import Router
from barque_api_docker.routes import ROUTES, UNIMPLEMENTED

SWAGGER = Path(__file__).parents[2] / "e2e" / "docker-engine-api.yaml"


def operations():
    text = SWAGGER.read_text().partition("\npaths:\n")[2]
    found = []
    for line in text.splitlines():
        if match := re.fullmatch(r'  "?(/[^":]*)"?:', line):
            path = match[1]
        elif match := re.fullmatch(r"    (get|head|post|put|delete):", line):
            found.append((match[1].upper(), path))
    return found


def test_swagger_is_covered_exactly_once():
    served, refused = Router(ROUTES), Router(UNIMPLEMENTED)
    assert len(operations()) > 100
    for method, pattern in operations():
        path = re.sub(r"\{\w+\}", "value", pattern)
        found = [router for router in (served, refused) if router.find(method, path)]
        assert len(found) == 1, (method, pattern)


def test_unimplemented_operations_say_so_and_what_to_do(api):
    told = api.message("POST", "/v1.51/build", status=501)
    assert told.startswith("barque does not implement POST /build yet (")
    assert "docker load" in told
    assert "POST /session" in api.message("POST", "/session", status=501)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nope"),
        ("PUT", "/info"),
        ("GET", "/containers/create"),
        ("GET", "/v1.40"),
        ("GET", "//info"),
    ],
)
def test_unknown_paths(api, method, path):
    assert api.message(method, path, status=404) == "page not found"


def test_versions(api):
    assert api.message("GET", "/v1.23/info") == (
        "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
    )
    assert api.message("GET", "/v1.52/info") == (
        "client version 1.52 is too new. Maximum supported API version is 1.51"
    )
    assert api.message("GET", "/v0.99/_ping").startswith("client version 0.99 is too old")
    for version in ("1.24", "1.41", "1.51"):
        assert api.call("GET", f"/v{version}/_ping")[0] == 200
    assert api.json("GET", "/version")["ApiVersion"] == "1.51"


def test_names_with_slashes():
    router = Router(ROUTES)
    _, params = router.find("GET", "/images/docker.io/library/a:b/json")
    assert params == {"name": "docker.io/library/a:b"}
    assert router.find("GET", "/images/json")[1] == {}
    assert router.find("GET", "/containers/a/b/json") is None
