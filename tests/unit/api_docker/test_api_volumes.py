"""Volumes and mounts in Docker's JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import BindMount, ImageMount, Volume, VolumeMount
from barque_api_docker.fields import Fields
from barque_api_docker.translate.mounts import read_mounts


def read(host=None, **body):
    return read_mounts(Fields(body), Fields(host or {}, "HostConfig"))


def mount(**fields):
    return read({"Mounts": [fields]})


def filters(**values):
    from urllib.parse import quote

    return "filters=" + quote(json.dumps(values))


def test_binds_in_all_their_forms():
    got = read({"Binds": ["/h/:/a/:ro,rslave,z", "name:/b:nocopy,Z", "/c", "name:/d:ro"]})
    assert got.binds == (BindMount("/h", "/a", read_only=True, propagation="rslave", create_source=True),)
    assert got.volumes == (
        VolumeMount("/b", "name", copy=False),
        VolumeMount("/c"),
        VolumeMount("/d", "name", read_only=True),
    )


def test_mounts_in_all_their_types():
    got = read(
        {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/h",
                    "Target": "/a",
                    "ReadOnly": True,
                    "BindOptions": {"ReadOnlyForceRecursive": True},
                },
                {
                    "Type": "bind",
                    "Source": "/h",
                    "Target": "/b",
                    "BindOptions": {"NonRecursive": True, "CreateMountpoint": True},
                },
                {
                    "Type": "volume",
                    "Source": "v1",
                    "Target": "/c",
                    "VolumeOptions": {
                        "NoCopy": True,
                        "Labels": {"a": "b"},
                        "Subpath": "x/y",
                        "DriverConfig": {"Name": "local", "Options": {"size": "1m"}},
                    },
                },
                {"Type": "image", "Source": "bb:1", "Target": "/d", "ImageOptions": {"Subpath": "etc"}},
                {
                    "Type": "tmpfs",
                    "Target": "/e",
                    "ReadOnly": True,
                    "TmpfsOptions": {"SizeBytes": 4096, "Options": [["exec"]]},
                },
            ]
        }
    )
    assert got.binds == (
        BindMount("/h", "/a", read_only=True, read_only_below="force"),
        BindMount("/h", "/b", recursive=False, create_source=True),
    )
    assert got.volumes == (
        VolumeMount(
            "/c", "v1", copy=False, subpath="x/y", driver="local", options={"size": "1m"}, labels={"a": "b"}
        ),
    )
    assert got.images == (ImageMount("bb:1", "/d", "etc"),)
    assert got.tmpfs == {"/e": "ro,size=4096,exec"}


def test_anonymous_volumes_yield_to_mounts_at_their_place():
    got = read(
        {"Binds": ["/h:/a"], "Tmpfs": {"/t": ""}, "VolumeDriver": "nfs"},
        Volumes={"/a/": {}, "/t": {}, "//x": {}},
    )
    assert got.volumes == (VolumeMount("/x", driver="nfs"),)


INVALID = 'invalid mount config for type "{}": {}'


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Type": "volume"}, INVALID.format("volume", "field Target must not be empty")),
        ({"Type": "bind", "Target": "/x"}, INVALID.format("bind", "field Source must not be empty")),
        ({"Type": "bind", "Source": "x", "Target": "/x"}, INVALID.format("bind", "invalid mount path: 'x' mount path must be absolute")),
        ({"Type": "tmpfs", "Source": "x", "Target": "/x"}, INVALID.format("tmpfs", "field Source must not be specified")),
        ({"Type": "tmpfs", "Target": "/x", "BindOptions": {}}, INVALID.format("tmpfs", "field BindOptions must not be specified")),
        ({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["suid"]]}}, INVALID.format("tmpfs", "invalid option: suid")),
        ({"Type": "image", "Target": "/x"}, INVALID.format("image", "field Source must not be empty")),
        ({"Type": "volume", "Target": "x", "Source": "v1"},
         INVALID.format("volume", "invalid mount path: 'x' mount path must be absolute")),
        ({"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": "a"}},
         INVALID.format("volume", "must not set Subpath when using anonymous volumes")),
        ({"Type": "volume", "Target": "/x", "Source": "v1", "VolumeOptions": {"Subpath": "/a"}},
         INVALID.format("volume", "subpath must be a relative path within the volume")),
        ({"Type": "bind", "Source": "/x", "Target": "/x", "BindOptions": {"Propagation": "odd"}},
         INVALID.format("bind", "invalid propagation mode: odd")),
        ({"Type": "", "Target": "/x"}, INVALID.format("", "mount type unknown")),
    ],
)  # fmt: skip
def test_refusals_of_mounts_are_dockers(fields, words):
    with pytest.raises(InvalidArgument) as caught:
        mount(**fields)
    assert caught.value.message == words


@given(st.text(st.sampled_from("ab:/.,roz \n"), max_size=12))
def test_any_bind_is_read_or_refused(text):
    try:
        got = read({"Binds": [text]})
    except InvalidArgument:
        return
    assert all(one.target.startswith("/") and one.target != "/" for one in (*got.binds, *got.volumes))


def test_volumes_are_made_listed_and_removed(api, engine):
    made = api.json(
        "POST", "/volumes/create", {"Name": "data", "DriverOpts": {"size": "1m"}, "Labels": {"a": "b"}}, 201
    )
    assert made == {
        "CreatedAt": "1970-01-01T00:00:01Z", "Driver": "local", "Labels": {"a": "b"}, "Mountpoint": "/volumes/data/_data",
        "Name": "data", "Options": {"size": "1m"}, "Scope": "local",
    }  # fmt: skip
    engine.volumes["anon"] = Volume("anon", "local", "/x", 0, users=("c1",), anonymous=True)
    assert [one["Name"] for one in api.json("GET", "/volumes")["Volumes"]] == ["data", "anon"]
    for chosen, names in (
        ({"dangling": ["true"]}, ["data"]),
        ({"dangling": ["false"]}, ["anon"]),
        ({"label": ["com.docker.volume.anonymous"]}, ["anon"]),
        ({"label": ["a=b"]}, ["data"]),
        ({"name": ["at"]}, ["data"]),
        ({"driver": ["nfs"]}, []),
    ):
        assert [one["Name"] for one in api.json("GET", "/volumes?" + filters(**chosen))["Volumes"]] == names
    assert api.message("GET", "/volumes?" + filters(x=["y"])) == "invalid filter 'x'"
    assert api.message("GET", "/volumes/none", status=404) == "get none: no such volume"
    api.json("DELETE", "/volumes/data?force=1", None, 204)
    assert "data" not in engine.volumes


def test_prune_takes_anonymous_ones_and_all_when_asked_or_of_old(api, engine):
    def put():
        engine.volumes = {
            "named": Volume("named", "local", "/n", 0),
            "anon": Volume("anon", "local", "/a", 0, anonymous=True),
            "used": Volume("used", "local", "/u", 0, anonymous=True, users=("c1",)),
        }

    for path, removed in (
        ("/volumes/prune", ["anon"]),
        ("/volumes/prune?" + filters(all=["1"]), ["named", "anon"]),
        ("/v1.41/volumes/prune", ["named", "anon"]),
        ("/volumes/prune?" + filters(label=["no"]), None),
    ):
        put()
        assert api.json("POST", path) == {
            "VolumesDeleted": removed,
            "SpaceReclaimed": 1000 * len(removed or ()),
        }


def test_a_cluster_volume_wants_a_swarm(api):
    assert "not a swarm manager" in api.message(
        "POST", "/volumes/create", {"ClusterVolumeSpec": {}}, status=503
    )
