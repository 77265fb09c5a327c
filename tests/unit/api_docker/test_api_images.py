"""Images, pulls, loads, networks, info."""

import base64
import json
from dataclasses import replace
from urllib.parse import quote

import pytest
from api_fake_engine import IMAGE_ID, NETWORK_ID, make_image

from barque.spi.common import Platform, Progress
from barque.spi.errors import NotFound, Unavailable
from barque.spi.image import Credentials
from barque_api_docker.translate.moments import calendar_ns, moment_ns
from barque_api_docker.translate.text import age, familiar_name, human_size, platform, rfc3339


def lines(data):
    assert data.endswith(b"\r\n")
    return [json.loads(line) for line in data.split(b"\r\n")[:-1]]


def test_list_and_filters(api, engine):
    engine.images["old"] = make_image((), "sha256:" + "a" * 64, "2020-01-01T00:00:00Z", Labels={"o": "ld"})
    engine.images["app"] = make_image(("ghcr.io/x/app:2",), "sha256:" + "b" * 64, "2026-06-01T00:00:00+02:00")
    got = api.json("GET", "/images/json")
    assert [one["RepoTags"] for one in got] == [["ghcr.io/x/app:2"], ["bb:1"], []]
    assert got[1] == {
        "Containers": 0, "Created": 1767323045, "Id": IMAGE_ID, "Labels": {"in": "image"}, "ParentId": "",
        "RepoDigests": ["bb@sha256:" + "2" * 64], "RepoTags": ["bb:1"], "SharedSize": -1, "Size": 1234567,
    }  # fmt: skip
    for filters, expected in [
        ({"dangling": ["true"]}, [[]]),
        ({"dangling": ["false"]}, [["ghcr.io/x/app:2"], ["bb:1"]]),
        ({"reference": ["bb"]}, [["bb:1"]]),
        ({"reference": ["b*:1"]}, [["bb:1"]]),
        ({"reference": ["docker.io/library/bb:1"]}, [["bb:1"]]),
        ({"reference": ["ghcr.io/*/app"]}, [["ghcr.io/x/app:2"]]),
        ({"label": ["o=ld"]}, [[]]),
        ({"before": ["bb:1"]}, [[]]),
        ({"since": ["bb:1"]}, [["ghcr.io/x/app:2"]]),
        ({"until": ["2026-01-01T00:00:00Z"]}, [[]]),
        ({"until": ["1577836801"]}, [[]]),
    ]:
        found = api.json("GET", f"/images/json?filters={quote(json.dumps(filters))}")
        assert [one["RepoTags"] for one in found] == expected, filters
    assert (
        api.message("GET", "/images/json?filters=%7B%22dangling%22:[%22x%22]%7D")
        == "invalid filter 'dangling=[x]'"
    )
    assert api.call("GET", "/images/json?filters=%7B%22until%22:[%22x%22]%7D")[0] == 400


def test_a_reference_filter_shows_only_the_names_that_fit(api, engine):
    engine.images["two"] = make_image(("ghcr.io/x/app:2", "other:1"), "sha256:" + "c" * 64)
    filters = quote(json.dumps({"reference": ["ghcr.io/x/app"]}))
    (found,) = api.json("GET", f"/images/json?filters={filters}")
    assert found["RepoTags"] == ["ghcr.io/x/app:2"]
    assert all(name.startswith("ghcr.io/x/app@") for name in found["RepoDigests"])


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("bb:1", "4" * 64),
        ("docker.io/library/bb:1", "4" * 64),
        ("ghcr.io/x/bb:1", "5" * 64),
        ("deb:bb", "2" * 64),
        ("deb:bb,sh@bookworm", "2" * 64),
        (f"bb@sha256:{'7' * 64}", "7" * 64),
    ],
)
def test_the_digest_a_pull_tells_is_its_own_repositorys(api, engine, name, digest):
    known = ("bb@sha256:" + "4" * 64, "ghcr.io/x/bb@sha256:" + "5" * 64, "elsewhere/bb@sha256:" + "6" * 64)
    engine.images[IMAGE_ID] = replace(make_image(), digests=known)
    got = lines(api.call("POST", f"/images/create?fromImage={quote(name, safe='')}")[2])
    assert got[-2] == {"status": f"Digest: sha256:{digest}"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bb:1", "bb:1"),
        ("localhost:5000/bb:1", "localhost:5000/bb:1"),
        ("docker-archive:/a.tar", "docker-archive:/a.tar"),
        ("docker-archive:/a.tar#0", "docker-archive:/a.tar#0"),
        ("deb:bash,sh@bookworm", "deb:bash,sh@bookworm"),
    ],
)
def test_a_pull_tells_the_name_without_a_tag_that_a_source_does_not_know(api, name, shown):
    got = lines(api.call("POST", f"/images/create?fromImage={quote(name, safe='')}")[2])
    assert got[-1] == {"status": f"Status: Image is up to date for {shown}"}


def test_inspect_and_history(api, engine):
    got = api.json("GET", "/images/docker.io/library/bb:1/json")
    assert (got["Id"], got["RepoTags"], got["Architecture"], got["Os"]) == (
        IMAGE_ID,
        ["bb:1"],
        "amd64",
        "linux",
    )
    assert got["Config"]["Env"] == ["PATH=/bin"]
    assert got["RootFS"] == {"Type": "layers", "Layers": ["sha256:" + "3" * 64]}
    assert got["Created"] == "2026-01-02T03:04:05.6Z"
    steps = api.json("GET", "/images/bb:1/history")
    assert [(step["CreatedBy"], step["Id"], step["Tags"]) for step in steps] == [
        ("CMD", IMAGE_ID, ["bb:1"]),
        ("ADD x", "<missing>", None),
    ]
    assert api.message("GET", "/images/a/b/json", status=404) == "No such image: a/b"


def test_remove_and_tag(api, engine):
    assert api.call("POST", "/images/bb:1/tag?repo=x/y&tag=z")[0] == 201
    assert engine.calls[-1] == ("image_tag", "bb:1", "x/y", "z")
    assert api.call("POST", "/images/bb:1/tag?repo=x")[0] == 201
    assert engine.calls[-1][-1] == "latest"
    assert api.call("POST", "/images/bb:1/tag?repo=x&tag=a%20b")[0] == 400
    assert api.call("POST", "/images/bb:1/tag")[0] == 400
    assert api.json("DELETE", "/images/bb:1?force=1&noprune=1") == [
        {"Untagged": "bb:1"},
        {"Deleted": IMAGE_ID},
    ]
    assert engine.calls[-1] == ("image_remove", "bb:1", True)


def test_pull_tells_progress_as_dockerd(api, engine):
    engine.pull_steps = [
        Progress("1", "Pulling from library/bb"),
        Progress("aaa", "Downloading", 500, 1000),
        Progress("aaa", "Downloading", 600, 1000),
        Progress("aaa", "Downloading", 1000, 1000),
        Progress("aaa", "Pull complete"),
    ]
    code, headers, data = api.call("POST", "/images/create?fromImage=bb&tag=1&platform=linux/amd64")
    assert (code, headers["content-type"]) == (200, "application/json")
    got = lines(data)
    assert got[0] == {"status": "Pulling from library/bb", "progressDetail": {}, "id": "1"}
    assert got[1]["progressDetail"] == {"current": 500, "total": 1000}
    assert got[1]["progress"] == "[=========================>                        ]     500B/1kB"
    assert got[2]["progressDetail"] == {"current": 1000, "total": 1000}
    assert [line["status"] for line in got[3:]] == [
        "Pull complete",
        "Digest: sha256:" + "2" * 64,
        "Status: Downloaded newer image for bb:1",
    ]
    assert engine.calls[-1] == ("image_pull", "bb:1", Platform(), None)
    engine.pull_steps = []
    got = lines(api.call("POST", "/images/create?fromImage=docker.io/library/bb&tag=latest")[2])
    assert got[-1] == {"status": "Status: Image is up to date for bb:latest"}


def test_pull_without_a_tag_is_of_all_tags(api, engine):
    engine.pull_steps = [Progress("x", "Pulling from library/bb")]
    engine.tags = ("bb:1", "bb:2")
    for name in ("docker.io/library/bb", "bb:"):
        engine.calls.clear()
        got = lines(api.call("POST", f"/images/create?fromImage={name}")[2])
        assert [call[:2] for call in engine.calls] == [
            ("image_tags", "bb"), ("image_pull", "bb:1"), ("image_pull", "bb:2"),
        ]  # fmt: skip
        assert [line["status"].partition(":")[0] for line in got] == [
            "Pulling from library/bb", "Digest", "Pulling from library/bb", "Digest", "Status",
        ]  # fmt: skip
        assert got[-1]["status"] == "Status: Downloaded newer image for bb"
    engine.fail["image_tags"] = NotFound("repository bb not found: name unknown")
    assert api.message("POST", "/images/create?fromImage=bb", status=404).startswith("repository bb not")


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("fromImage=a&tag=b", "a:b"),
        ("fromImage=docker.io/library/a&tag=b", "a:b"),
        ("fromImage=a:b", "a:b"),
        ("fromImage=a&tag=sha256:123", "a@sha256:123"),
        ("fromImage=docker.io/library/deb&tag=bash", "deb:bash"),
        ("fromImage=deb&tag=bash", "deb:bash"),
        ("fromImage=deb:bash,coreutils@bookworm", "deb:bash,coreutils@bookworm"),
    ],
)
def test_references(api, engine, query, reference):
    api.call("POST", f"/images/create?{query}")
    assert engine.calls[-1][1] == reference


def test_errors_of_a_pull(api, engine):
    engine.pull_steps = [NotFound("pull access denied for x")]
    assert api.message("POST", "/images/create?fromImage=x:1", status=404) == "pull access denied for x"
    engine.pull_steps = [Progress("", "Pulling"), Unavailable("the registry left")]
    code, _, data = api.call("POST", "/images/create?fromImage=x:1")
    assert code == 200
    assert lines(data)[-1] == {"errorDetail": {"message": "the registry left"}, "error": "the registry left"}
    assert api.call("POST", "/images/create")[0] == 400
    assert api.call("POST", "/images/create?fromImage=x:1&platform=a/b/c/d")[0] == 400


def test_pull_is_cancelled_when_the_client_leaves(api, engine):
    import threading
    import time

    asked, result = threading.Event(), []

    def until_cancelled(cancelled):
        asked.set()
        deadline = time.monotonic() + 5
        while not cancelled() and time.monotonic() < deadline:
            time.sleep(0.01)
        result.append(cancelled())
        raise Unavailable("cancelled")

    engine.pull_steps = [Progress("", "Pulling"), until_cancelled]
    sock = api.connect()
    sock.sendall(b"POST /images/create?fromImage=x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    asked.wait(5)
    began = time.monotonic()
    sock.close()
    while not result:
        time.sleep(0.01)
        assert time.monotonic() - began < 1
    assert result == [True]


@pytest.mark.parametrize(
    ("document", "credentials"),
    [
        ({"username": "u", "password": "p"}, Credentials("u", "p")),
        ({"auth": base64.b64encode(b"u:p:q").decode()}, Credentials("u", "p:q")),
        ({"identitytoken": "t"}, Credentials(identity_token="t")),
        ({"registrytoken": "t"}, Credentials(registry_token="t")),
        ({}, None),
        (None, None),
        ([1], None),
        ({"username": 3}, None),
        ({"registrytoken": "t\r\nX-Evil: 1"}, None),
        ({"identitytoken": "\ud800"}, None),
    ],
)
def test_credentials(api, engine, document, credentials):
    header = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    for value in (header, header.rstrip("=")):
        api.call("POST", "/images/create?fromImage=x:1", headers={"X-Registry-Auth": value})
        assert engine.calls[-1][3] == credentials


def test_unreadable_credentials_are_ignored(api, engine):
    for value in ("%%%", "bm9wZQ", "A" * 20000):
        assert api.call("POST", "/images/create?fromImage=x:1", headers={"X-Registry-Auth": value})[0] == 200
        assert engine.calls[-1][3] is None


def test_load(api, engine):
    archive = b"tar" * 3_000_000
    code, _, data = api.call("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
    assert code == 200
    assert engine.calls[-1] == ("image_load", archive)
    assert lines(data) == [{"stream": "Loaded image: bb:1\n"}]
    assert lines(api.call("POST", "/images/load", b"x")[2])[0]["status"] == "Loading layer"
    engine.fail["image_load"] = Unavailable("no")
    assert api.message("POST", "/images/load", status=503) == "no"


def test_networks(api, engine):
    id = api.start("sleep", "9", name="web")
    bridge, own = api.json("GET", "/networks")
    assert (bridge["Name"], bridge["Driver"], bridge["Scope"], bridge["Containers"]) == (
        "bridge",
        "bridge",
        "local",
        {},
    )
    assert bridge["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert own["Labels"] == {"k": "v"}
    got = api.json("GET", f"/networks/{NETWORK_ID}")
    assert got["Containers"] == {
        id: {
            "Name": "web", "EndpointID": "e" * 64, "MacAddress": "02:42:ac:11:00:02",
            "IPv4Address": "172.17.0.2/16", "IPv6Address": "",
        }
    }  # fmt: skip
    for filters, expected in [
        ({"name": ["own"]}, ["own"]),
        ({"id": ["777"]}, ["bridge"]),
        ({"driver": ["bridge"]}, ["bridge", "own"]),
        ({"type": ["custom"]}, ["own"]),
        ({"type": ["builtin"]}, ["bridge"]),
        ({"scope": ["swarm"]}, []),
        ({"label": ["k"]}, ["own"]),
        ({"dangling": ["true"]}, ["own"]),
    ]:
        found = api.json("GET", f"/networks?filters={quote(json.dumps(filters))}")
        assert [one["Name"] for one in found] == expected, filters
    assert api.call("GET", "/networks?filters=%7B%22type%22:[%22x%22]%7D")[0] == 400
    assert api.message("GET", "/networks/nope", status=404) == "network nope not found"


def test_info_and_version(api, engine):
    api.start("sleep", "9")
    api.create("echo")
    got = api.json("GET", "/info")
    assert (got["Containers"], got["ContainersRunning"], got["ContainersStopped"], got["Images"]) == (
        2,
        1,
        1,
        1,
    )
    assert (got["ServerVersion"], got["Driver"], got["DefaultRuntime"]) == ("9.8.7", "overlay", "native")
    assert (got["CgroupVersion"], got["Warnings"], got["ID"]) == ("1", ["careful"], "fake-id")
    assert got["NCPU"] >= 1
    assert got["MemTotal"] > 1 << 20
    version = api.json("GET", "/version")
    assert (version["Version"], version["MinAPIVersion"], version["Os"]) == ("9.8.7", "1.24", "linux")
    assert version["Components"][0]["Name"] == "Engine"


def test_notations(monkeypatch):
    import time

    assert rfc3339(0) == "0001-01-01T00:00:00Z"
    assert rfc3339(1_600_000_000_120_000_000) == "2020-09-13T12:26:40.12Z"
    assert rfc3339(1_600_000_000_000_000_000) == "2020-09-13T12:26:40Z"
    assert calendar_ns("2020-09-13T12:26:40.999999999Z") == 1_600_000_000_999_999_999
    assert calendar_ns("2020-09-13T14:26:40+02:00") == 1_600_000_000_000_000_000
    assert calendar_ns("2020-09-13T12:26") == 1_599_999_960_000_000_000
    assert calendar_ns("2020-09-13") == 1_599_955_200_000_000_000
    assert calendar_ns("2020-13-45T99:00:00Z") is None
    assert calendar_ns("1600000000") is None
    assert moment_ns("1600000000.5") == 1_600_000_000_500_000_000
    assert moment_ns("1h30m") // 10**9 == int(time.time()) - 5400
    assert moment_ns("1.5h") // 10**9 == int(time.time()) - 5400
    assert moment_ns("nope") is None
    assert moment_ns("1h x") is None
    assert human_size(1982298) == "1.982MB"
    assert human_size(999) == "999B"
    assert familiar_name("docker.io/library/a:1") == "a:1"
    assert familiar_name("docker.io/me/a:1") == "me/a:1"
    assert familiar_name("library/a") == "library/a"
    assert platform("") is None
    assert platform("arm64") == Platform("linux", "arm64")
    assert platform("linux") == Platform()
    assert platform("linux/arm/v7") == Platform("linux", "arm", "v7")
    assert platform("Linux/x86_64") == Platform()
    now = 2_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: now * 10**9)
    for seconds, words in [
        (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (119, "About a minute"),
        (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"), (5399, "About an hour"), (5400, "2 hours"),
        (47 * 3600, "47 hours"), (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"), (729 * 86400, "24 months"), (730 * 86400, "2 years"),
    ]:  # fmt: skip
        assert age((now - seconds) * 10**9) == words, seconds
