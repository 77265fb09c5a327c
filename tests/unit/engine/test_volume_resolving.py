"""Which mounts a container has, and in which order they win."""

import pytest

from barque.engine.volumes.names import check_volume_name, clean_path
from barque.engine.volumes.resolving import resolve_mounts
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.frontend import BindMount, ContainerConfig, ImageMount, VolumeMount

OTHER = ContainerConfig(
    "x",
    binds=(BindMount("/h", "/b", create_source=True),),
    volumes=(VolumeMount("/v", "named"), VolumeMount("/ro", "guarded", read_only=True)),
    image_mounts=(ImageMount("sha256:1", "/i"),),
)


def other(ref):
    if ref != "other":
        raise NotFound(f"No such container: {ref}")
    return OTHER


def resolved(declared=None, **fields):
    return resolve_mounts(ContainerConfig("x", **fields), declared, other)


def test_what_is_asked_for_wins_over_what_is_inherited_and_that_over_the_image():
    got = resolved(
        {"/v": {}, "/own/": {}, "/b": {}, "/mem": {}},
        volumes=(VolumeMount("/own", "mine"),),
        binds=(BindMount("/elsewhere", "/v"),),
        volumes_from=("other",),
        tmpfs={"/mem": ""},
    )
    assert [bind.source for bind in got.binds] == ["/h", "/elsewhere"]
    assert [(v.target, v.name, v.inherited) for v in got.volumes] == [
        ("/ro", "guarded", True),
        ("/own", "mine", False),
    ]
    assert [image.target for image in got.image_mounts] == ["/i"]


@pytest.mark.parametrize(("mode", "read_only"), [("", False), (":rw", False), (":ro", True), (":z,ro", True)])
def test_what_is_inherited_may_become_read_only_but_never_writable(mode, read_only):
    got = resolved(volumes_from=(f"other{mode}",))
    assert {v.target: v.read_only for v in got.volumes} == {"/v": read_only, "/ro": True}
    assert not any(volume.copy for volume in got.volumes)
    assert got.binds[0].read_only == read_only
    assert not got.binds[0].create_source


@pytest.mark.parametrize("mode", ["rx", "ro,rw", "rshared", "nocopy", "ro,"])
def test_modes_of_volumes_from(mode):
    with pytest.raises(InvalidArgument, match=f"invalid mode: {mode}"):
        resolved(volumes_from=(f"other:{mode}",))


def test_a_container_that_is_not_there_is_a_mistake_of_the_request():
    with pytest.raises(InvalidArgument, match="No such container: nobody"):
        resolved(volumes_from=("nobody",))


def test_duplicates():
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
        resolved(binds=(BindMount("/a", "/x"),), volumes=(VolumeMount("/x/", "v1"),))
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
        resolved(volumes=(VolumeMount("/x", "v1"),), tmpfs={"/x": ""})


@pytest.mark.row("S27")
@pytest.mark.parametrize(
    "declared", [{"/": {}}, {"..": {}}, {"/a\0b": {}}, {f"/{n}": {} for n in range(300)}]
)
def test_images_that_declare_nonsense_are_refused(declared):
    with pytest.raises(InvalidArgument):
        resolved(declared)


@pytest.mark.parametrize("declared", [None, [], "x", 3])
def test_what_is_no_table_of_volumes_declares_none(declared):
    assert resolved(declared).volumes == ()


def test_paths_are_made_absolute():
    got = resolved({"data": {}, "//a/../b/": {}, "../../c": {}})
    assert [volume.target for volume in got.volumes] == ["/data", "/b", "/c"]
    assert clean_path("//x//y/.") == "/x/y"


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", ".x", "a b", "ä1", "ab\n", "", "x" * 300])
def test_names_that_are_none(name):
    with pytest.raises(InvalidArgument):
        check_volume_name(name)


def test_a_name_of_one_letter_is_too_short_as_in_docker():
    with pytest.raises(InvalidArgument, match="create a: volume name is too short"):
        check_volume_name("a")
    check_volume_name("a.")
