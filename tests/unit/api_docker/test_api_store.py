"""Push, search, save, import, prune, login, disk usage and check; fields by API version. Words as dockerd 20.10 and 28 have them."""

import base64
import json
import tarfile
from dataclasses import replace
from io import BytesIO
from urllib.parse import quote

import pytest
from api_fake_engine import IMAGE_ID, make_image

from barque.spi.common import Platform, Progress
from barque.spi.errors import Conflict, Internal, NotFound, NotImplemented, PermissionDenied, Unavailable
from barque.spi.image import Credentials, SearchResult

HUB = "https://index.docker.io/v1/"
AUTH = base64.urlsafe_b64encode(json.dumps({"username": "u", "password": "p"}).encode()).decode()


def lines(data):
    assert data.endswith(b"\r\n")
    return [json.loads(line) for line in data.split(b"\r\n")[:-1]]


def filters(**values):
    return "filters=" + quote(json.dumps({name: list(value) for name, value in values.items()}))


def push(api, target, **headers):
    code, _, data = api.call("POST", f"/images/{target}", headers=headers)
    assert code == 200, data
    return lines(data)


# -- push


def test_push_one_tag(api, engine):
    got = push(api, "bb/push?tag=1", **{"X-Registry-Auth": AUTH})
    assert got == [
        {"status": "The push refers to repository [docker.io/library/bb]"},
        {"status": "Preparing", "progressDetail": {}, "id": "abc"},
        {
            "status": "Pushing", "progressDetail": {"current": 5, "total": 10}, "id": "abc",
            "progress": "[=========================>                        ]       5B/10B",
        },
        {"status": "Pushed", "progressDetail": {}, "id": "abc"},
        {"status": f"1: digest: sha256:{'5' * 64} size: 527"},
        {"progressDetail": {}, "aux": {"Tag": "1", "Digest": "sha256:" + "5" * 64, "Size": 527}},
    ]  # fmt: skip
    assert engine.calls[-1] == ("image_push", "bb:1", Credentials("u", "p"))


@pytest.mark.parametrize("name", ["reg.example:5000/bb", "bb", "docker.io/library/bb"])
def test_names_of_the_default_registry_may_be_written_in_full(api, engine, monkeypatch, name):
    known = replace(engine.info(), default_registry="reg.example:5000")
    monkeypatch.setattr(engine, "info", lambda: known)
    got = push(api, f"{name}/push?tag=1")
    assert got[0] == {"status": "The push refers to repository [reg.example:5000/bb]"}
    assert engine.calls[-1][:2] == ("image_push", "bb:1")
    for pattern in ("reg.example:5000/bb", "reg.example:5000/*", "bb:1"):
        filters = quote(json.dumps({"reference": [pattern]}))
        assert [one["RepoTags"] for one in api.json("GET", f"/images/json?filters={filters}")] == [["bb:1"]]


def test_push_without_a_tag_pushes_all_of_the_repository(api, engine):
    engine.images[IMAGE_ID] = make_image(("reg:5000/a/x:3", "reg:5000/a/x:2", "reg:5000/a/xy:2", "bb:1"))
    got = push(api, "reg:5000/a/x/push")
    assert got[0] == {"status": "The push refers to repository [reg:5000/a/x]"}
    assert [line["aux"]["Tag"] for line in got if "aux" in line] == ["2", "3"]
    assert [call[1] for call in engine.calls] == ["reg:5000/a/x:2", "reg:5000/a/x:3"]
    engine.calls.clear()
    push(api, "reg:5000/a/x:3/push")
    assert [call[1] for call in engine.calls] == ["reg:5000/a/x:3"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bb/push?tag=9", "tag does not exist: bb:9"),
        ("reg/nope/push?tag=9", "An image does not exist locally with the tag: reg/nope"),
        ("nope/push", "An image does not exist locally with the tag: nope"),
        (f"bb@sha256:{'1' * 64}/push", "cannot push a digest reference"),
        (
            "bb/push?tag=1&platform=" + quote('{"os":"linux","architecture":"arm64"}'),
            "image with reference bb:1 was found but does not provide the specified platform (linux/arm64)",
        ),
    ],
)
def test_what_cannot_be_pushed_is_told_in_the_stream(api, engine, target, message):
    got = push(api, target)
    assert got[0]["status"].startswith("The push refers to repository [")
    assert got[1:] == [{"errorDetail": {"message": message}, "error": message}]
    assert not engine.calls


def test_a_push_that_fails(api, engine):
    engine.fail["image_push"] = PermissionDenied("denied: requested access to the resource is denied")
    assert push(api, "bb/push?tag=1")[-1]["error"] == "denied: requested access to the resource is denied"
    assert api.call("POST", "/images/UPPER/push")[0] == 400
    assert api.call("POST", "/images/bb/push?tag=b%20d")[0] == 400


# -- search, login, distribution


def test_search(api, engine):
    engine.found = (
        SearchResult("one", "First", 10, True, False),
        SearchResult("two", "", 3, False, True),
    )
    got = api.json("GET", "/images/search?term=reg%3A5000%2Fx&limit=7")
    assert got == [
        {"star_count": 10, "is_official": True, "name": "one", "is_automated": False, "description": "First"},
        {"star_count": 3, "is_official": False, "name": "two", "is_automated": True, "description": ""},
    ]
    assert engine.calls[-1] == ("image_search", "reg:5000/x", 7, None)
    for query, names in [
        (filters(stars=["4"]), ["one"]),
        (filters(stars=["1", "4"]), ["one"]),
        (filters(**{"is-official": ["false"]}), ["two"]),
        (filters(**{"is-automated": ["true"]}), ["two"]),
        ("limit=0", ["one", "two"]),
        ("limit=1", ["one"]),
    ]:
        assert [one["name"] for one in api.json("GET", f"/images/search?term=x&{query}")] == names, query
    for query, words in [
        ("term=x&limit=101", "limit 101 is outside the range of [1, 100]"),
        ("term=x&limit=-1", "limit -1 is outside the range of [1, 100]"),
        ("term=x&" + filters(stars=["x"]), "invalid filter 'stars=x'"),
        ("term=x&" + filters(foo=["x"]), "invalid filter 'foo'"),
        ("term=x&" + filters(**{"is-official": ["x"]}), "invalid filter 'is-official=[x]'"),
        ("term=", "nothing to search for"),
    ]:
        assert api.message("GET", f"/images/search?{query}") == words
    engine.fail["image_search"] = NotImplemented("this registry cannot search")
    assert api.call("GET", "/images/search?term=x")[0] == 501


def test_auth(api, engine):
    body = {"username": "u", "password": "p", "serveraddress": "reg:5000"}
    assert api.json("POST", "/auth", body) == {"IdentityToken": "token", "Status": "Login Succeeded"}
    assert engine.calls[-1] == ("registry_login", "reg:5000", Credentials("u", "p"))
    api.json("POST", "/auth", {"identitytoken": "t"})
    assert engine.calls[-1] == ("registry_login", HUB, Credentials(identity_token="t"))
    engine.fail["registry_login"] = PermissionDenied("unauthorized: incorrect username or password")
    code, _, data = api.call("POST", "/auth", body)
    assert (code, json.loads(data)) == (401, {"message": "unauthorized: incorrect username or password"})
    engine.fail["registry_login"] = Unavailable("no answer")
    assert api.call("POST", "/auth", body)[0] == 503
    assert api.call("POST", "/auth", {"serveraddress": 3})[0] == 400


def test_distribution(api, engine):
    assert api.json("GET", "/distribution/reg:5000/x:1/json") == {
        "Descriptor": {
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + "6" * 64, "size": 99,
        },
        "Platforms": [
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "arm", "os": "linux", "variant": "v7"},
        ],
    }  # fmt: skip
    assert engine.calls[-1] == ("image_describe", "reg:5000/x:1", None)
    words = "invalid reference format: repository name (UPPER) must be lowercase"
    assert api.message("GET", "/distribution/UPPER/json") == words


# -- save, import


def test_save_streams_an_archive(api, engine):
    engine.archive = [b"a" * 512, b"b" * 300_000, b"c" * 512]
    code, headers, data = api.call("GET", "/images/get?names=bb:1&names=bb:1&names=" + IMAGE_ID)
    assert (code, headers["content-type"]) == (200, "application/x-tar")
    assert data == b"a" * 512 + b"b" * 300_000 + b"c" * 512
    assert engine.calls[-1] == ("image_save", ("bb:1", IMAGE_ID))
    assert api.call("GET", "/images/docker.io/library/bb:1/get")[2] == data
    assert engine.calls[-1] == ("image_save", ("docker.io/library/bb:1",))


def test_errors_of_a_save(api, engine):
    assert api.message("GET", "/images/nope/get", status=404) == "No such image: nope"
    assert api.message("GET", "/images/get?names=bb:1&names=nope", status=404) == "No such image: nope"
    assert api.call("GET", "/images/get")[0] == 400
    arm = "&platform=" + quote('{"os":"linux","architecture":"arm64"}')
    assert api.call("GET", "/images/get?names=bb:1" + arm)[0] == 404
    engine.archive = [b"x" * 200_000, Internal("the disk broke")]
    got = api.raw(b"GET /images/bb:1/get HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not got.endswith(b"0\r\n\r\n"), "a cut archive must not look whole"


def test_import(api, engine):
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    changes = "&changes=" + quote('CMD ["sh"]') + "&changes=" + quote("ENV A=b&c")
    code, _, data = api.call(
        "POST",
        "/images/create?fromSrc=-&repo=reg:5000/x&tag=1&message=hello&platform=linux/arm64" + changes,
        buffer.getvalue(),
    )
    assert (code, lines(data)) == (200, [{"status": IMAGE_ID}])
    _, request, body = engine.calls[-1]
    assert body == buffer.getvalue()
    assert (request.repository, request.tag, request.message) == ("reg:5000/x", "1", "hello")
    assert request.changes == ('CMD ["sh"]', "ENV A=b&c")
    assert request.platform == Platform("linux", "arm64")
    for repo, expected in [("", ("", "")), ("x", ("x", "latest")), ("x:3", ("x", "3"))]:
        api.call("POST", f"/images/create?fromSrc=-&repo={repo}", b"")
        assert (engine.calls[-1][1].repository, engine.calls[-1][1].tag) == expected


def test_what_is_not_imported(api, engine):
    assert api.call("POST", "/images/create?fromSrc=http://x/y.tar&repo=x")[0] == 501
    for query, words in [
        ("repo=UPPER", "invalid reference format: repository name (UPPER) must be lowercase"),
        ("repo=a..b", "invalid reference format"),
        ("repo=x&platform=foo/bar", "operating system is not supported"),
        ("repo=x&tag=a%20b", "invalid tag format"),
        (f"repo=x@sha256:{'1' * 64}", "cannot import digest reference"),
    ]:
        assert api.message("POST", f"/images/create?fromSrc=-&{query}") == words
    assert not engine.calls


def test_load_of_several_images(api, engine):
    other = make_image((), "sha256:" + "a" * 64)
    engine.image_load = lambda path, progress: (engine.images[IMAGE_ID], other)
    assert lines(api.call("POST", "/images/load", b"x")[2]) == [
        {"stream": "Loaded image: bb:1\n"},
        {"stream": f"Loaded image ID: sha256:{'a' * 64}\n"},
    ]
    engine.image_load = lambda path, progress: (
        progress(Progress("", "The image bb:1 already exists")) or (other,)
    )
    assert "The image bb:1 already exists" in str(lines(api.call("POST", "/images/load?quiet=1", b"x")[2])[0])
    engine.image_load = lambda path, progress: (other,)
    arm = quote('{"os":"linux","architecture":"arm64"}')
    assert lines(api.call("POST", f"/images/load?platform={arm}", b"x")[2])[0]["error"].startswith(
        "requested platform (linux/arm64) not found"
    )
    assert api.call("POST", "/images/load?platform=%7B%7D", b"x")[0] == 400


# -- prune


def test_image_prune(api, engine):
    engine.images["d"] = make_image((), "sha256:" + "a" * 64, "2020-01-01T00:00:00Z", Labels={"o": "ld"})
    engine.images["d"] = engine.images.pop("d")
    engine.images = {image.id: image for image in engine.images.values()}
    nothing = {"ImagesDeleted": None, "SpaceReclaimed": 0}
    assert api.json("POST", "/images/prune?" + filters(label=["x"])) == nothing
    assert api.json("POST", "/images/prune?" + filters(**{"label!": ["o"]})) == nothing
    assert api.json("POST", "/images/prune?" + filters(until=["2019-12-31"])) == nothing
    got = api.json("POST", "/images/prune?" + filters(until=["24h"], label=["o=ld"]))
    assert got == {"ImagesDeleted": [{"Deleted": "sha256:" + "a" * 64}], "SpaceReclaimed": 1234567}
    id = api.create("echo")
    assert api.json("POST", "/images/prune?" + filters(dangling=["false"])) == nothing
    api.call("DELETE", f"/containers/{id}")
    got = api.json("POST", "/images/prune?" + filters(dangling=["0"]))
    assert got["ImagesDeleted"] == [{"Untagged": "bb:1"}, {"Deleted": IMAGE_ID}]


@pytest.mark.parametrize("what", ["images", "containers", "networks"])
def test_wrong_filters_of_a_prune(api, engine, what):
    for wrong, words in [
        (filters(foo=["x"]), "invalid filter 'foo'"),
        (filters(until=["x"]), 'failed to parse value as time or duration: "x"'),
        (filters(until=["1h", "2h"]), "more than one until filter specified"),
    ]:
        assert api.message("POST", f"/{what}/prune?{wrong}") == words
    assert api.message("POST", "/images/prune?" + filters(dangling=["x"])) == "invalid filter 'dangling=[x]'"


def test_container_prune(api, engine):
    running, dead, kept = api.start("sleep", "9"), api.create("echo"), api.create("echo", Labels={"k": "v"})
    engine.items = [
        ("container", dead, "files", 1000),
        ("container", kept, "files", 1),
        ("log", dead, "log", 5),
    ]
    assert api.json("POST", "/containers/prune?" + filters(until=["1h"])) == {
        "ContainersDeleted": None,
        "SpaceReclaimed": 0,
    }
    got = api.json("POST", "/containers/prune?" + filters(**{"label!": ["k=v"]}))
    assert got == {"ContainersDeleted": [dead], "SpaceReclaimed": 1000}
    engine.fail["container_remove"] = Conflict("started meanwhile")
    assert api.json("POST", "/containers/prune")["ContainersDeleted"] is None
    assert {one.id for one in engine.container_list()} == {running, kept}


def test_what_there_is_nothing_of_to_prune(api):
    assert api.json("POST", "/volumes/prune?" + filters(all=["1"])) == {
        "VolumesDeleted": None,
        "SpaceReclaimed": 0,
    }
    assert api.json("POST", "/build/prune?all=1&" + filters(until=["1h"])) == {
        "CachesDeleted": None,
        "SpaceReclaimed": 0,
    }


# -- disk usage


def test_system_df(api, engine):
    layers = ("sha256:" + "3" * 64, "sha256:" + "4" * 64)
    top = make_image(("top:1",), "sha256:" + "c" * 64, diff_ids=layers, layer_sizes=(1234567, 50))
    engine.images[top.id] = top
    id = api.create("echo", name="c1")
    engine.items = [("container", id, "files", 100), ("log", id, "log", 5)]
    got = api.json("GET", "/system/df")
    assert got["LayersSize"] == 777
    assert {one["Id"]: (one["SharedSize"], one["Containers"]) for one in got["Images"]} == {
        IMAGE_ID: (1234567, 1),
        top.id: (1234567, 0),
    }
    container = got["Containers"][0]
    assert (container["Id"], container["SizeRw"], container["SizeRootFs"]) == (id, 100, 1234667)
    assert (got["Volumes"], got["BuildCache"]) == ([], [])
    assert "BuilderSize" not in got
    assert api.json("GET", "/v1.41/system/df")["BuilderSize"] == 0
    only = api.json("GET", "/system/df?type=volume&type=container")
    assert (only["Images"], only["BuildCache"], only["Volumes"]) == (None, None, [])
    assert len(only["Containers"]) == 1
    assert api.message("GET", "/system/df?type=x") == "unknown object type: x"


def test_sizes_of_containers(api, engine):
    id = api.create("echo", name="c1")
    plain = api.json("GET", "/containers/json?all=1&size=1")[0]
    assert plain["SizeRootFs"] == 1234567
    assert "SizeRw" not in plain
    engine.items = [("container", id, "files", 100)]
    assert api.json("GET", "/containers/json?all=1&size=1")[0]["SizeRw"] == 100
    got = api.json("GET", "/containers/c1/json?size=1")
    assert (got["SizeRw"], got["SizeRootFs"]) == (100, 1234667)
    engine.calls.clear()
    assert "SizeRw" not in api.json("GET", "/containers/c1/json")
    assert not engine.calls, "the disk is walked only for those who ask"


def test_barque_df(api, engine):
    engine.items = [("layer", "sha256:1", "unpacked", 70, 2), ("blob", "", "of nobody", 7, 0, True)]
    assert api.json("GET", "/barque/df") == {
        "Root": "/tmp",
        "Total": 77,
        "LayersSize": 777,
        "Items": [
            {"Kind": "layer", "Owner": "sha256:1", "What": "unpacked", "Bytes": 70, "Shared": 2, "Reclaimable": False},
            {"Kind": "blob", "Owner": "", "What": "of nobody", "Bytes": 7, "Shared": 0, "Reclaimable": True},
        ],
    }  # fmt: skip


def test_barque_check(api, engine):
    finding = {"kind": "blob", "subject": "sha256:1", "problem": "wrong digest", "images": ("sha256:2",)}
    engine.findings = ({**finding, "repaired": True, "action": "dropped"},)
    got = lines(api.call("POST", "/barque/check?repair=1")[2])
    assert engine.calls[-1] == ("content_check", True)
    assert got[0]["status"] == "Verifying"
    assert got[-1] == {
        "aux": {
            "Findings": [{
                "Kind": "blob", "Subject": "sha256:1", "Problem": "wrong digest", "Images": ["sha256:2"],
                "Repaired": True, "Action": "dropped",
            }]
        }
    }  # fmt: skip
    engine.findings = ()
    assert lines(api.call("POST", "/barque/check")[2])[-1] == {"aux": {"Findings": []}}
    assert engine.calls[-1] == ("content_check", False)
    engine.fail["content_check"] = Unavailable("busy")
    assert api.call("POST", "/barque/check")[0] == 503


# -- list, inspect, history


def test_list_options(api, engine):
    engine.images["n"] = make_image((), "sha256:" + "a" * 64, "2020-01-01T00:00:00Z")
    api.create("echo")
    got = {
        one["Id"]: one for one in api.json("GET", "/images/json?all=1&digests=1&manifests=1&shared-size=1")
    }
    assert (got[IMAGE_ID]["Containers"], got[IMAGE_ID]["SharedSize"]) == (1, 1234567)
    assert "VirtualSize" not in got[IMAGE_ID]
    old = {one["Id"]: one for one in api.json("GET", "/v1.42/images/json")}
    assert old[IMAGE_ID]["VirtualSize"] == 1234567
    assert old["sha256:" + "a" * 64]["RepoTags"] == ["<none>:<none>"]
    assert old["sha256:" + "a" * 64]["RepoDigests"] == ["<none>@<none>"]
    assert [one["RepoTags"] for one in api.json("GET", "/v1.40/images/json?filter=bb")] == [["bb:1"]]
    assert len(api.json("GET", "/v1.41/images/json?filter=zz")) == 2
    assert api.message("GET", "/images/json?" + filters(before=["nope"]), status=404) == "No such image: nope"


def test_inspect_by_version(api, engine):
    new = api.json("GET", "/images/bb:1/json")
    assert new["GraphDriver"] == {"Data": None, "Name": "overlay"}
    assert new["Metadata"]["LastTagTime"].endswith("Z")
    assert "Container" not in new
    assert "VirtualSize" not in new
    assert "Hostname" not in new["Config"]
    assert api.json("GET", "/v1.49/images/bb:1/json")["Config"]["Hostname"] == ""
    old = api.json("GET", "/v1.43/images/bb:1/json")
    assert (old["VirtualSize"], old["Container"]) == (1234567, "")
    assert old["ContainerConfig"]["Cmd"] is None
    engine.images[IMAGE_ID] = make_image(created="")
    assert "Created" not in api.json("GET", "/images/bb:1/json")
    assert api.json("GET", "/v1.43/images/bb:1/json")["Created"] == "0001-01-01T00:00:00Z"


def test_a_platform_that_the_image_has_not(api):
    words = "image with reference bb:1 was found but does not provide the specified platform (linux/arm64)"
    for path in ("json", "history"):
        assert api.message("GET", f"/images/bb:1/{path}?platform=linux/arm64", status=404) == words
        for good in ('{"os":"linux","architecture":"amd64"}', "linux/amd64", ""):
            assert api.call("GET", f"/images/bb:1/{path}?platform={quote(good)}")[0] == 200
    for bad in ('{"os":"linux"}', "{", '{"os":3,"architecture":"x"}'):
        assert api.call("GET", f"/images/bb:1/json?platform={quote(bad)}")[0] == 400


def test_history_tells_the_size_of_each_layer(api, engine):
    image = make_image(diff_ids=("sha256:1", "sha256:2"), layer_sizes=(1000, 7))
    image.config["history"] = [
        {"created": "2026-01-02T03:04:05Z", "created_by": "ADD", "comment": "base"},
        {"created_by": "ENV", "empty_layer": True},
        {"created_by": "COPY"},
    ]
    engine.images[IMAGE_ID] = image
    assert api.json("GET", "/images/bb:1/history") == [
        {"Comment": "", "Created": -62135596800, "CreatedBy": "COPY", "Id": IMAGE_ID, "Size": 7, "Tags": ["bb:1"]},
        {"Comment": "", "Created": -62135596800, "CreatedBy": "ENV", "Id": "<missing>", "Size": 0, "Tags": None},
        {
            "Comment": "base", "Created": 1767323045, "CreatedBy": "ADD", "Id": "<missing>", "Size": 1000,
            "Tags": None,
        },
    ]  # fmt: skip


def test_errors_of_names(api, engine):
    assert api.message("GET", "/images/nope/history", status=404) == "No such image: nope"
    engine.fail["image_prune"] = NotFound("x")
    assert api.call("POST", "/images/prune")[0] == 404
