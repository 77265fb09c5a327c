"""Mount options become attribute masks, propagation and data."""

from __future__ import annotations

import pytest

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls as sys_
from barque_runtime_native.mounts.mounts import BindMount, FilesystemMount, clear_mask, plan_mount
from barque_runtime_native.mounts.options import MountOptions
from barque_runtime_native.mounts.remount import Remount
from barque_runtime_native.namespaces.namespaces import NamespacePlan
from barque_runtime_native.spec import Section

NAMESPACES = NamespacePlan(Section({"namespaces": [{"type": "mount"}]}, "linux"))


def options(*words, **kwargs):
    return MountOptions(list(words), "mounts[0]", **kwargs)


def test_docker_proc_mount():
    found = options("nosuid", "noexec", "nodev")
    assert found.set == sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_NOEXEC | sys_.MOUNT_ATTR_NODEV
    assert (found.data, found.bind) == ([], False)


def test_docker_dev_mount():
    found = options("nosuid", "strictatime", "mode=755", "size=65536k")
    assert found.set == sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_STRICTATIME
    assert found.data == [("mode", "755"), ("size", "65536k")]


def test_the_last_of_two_opposites_wins():
    assert options("ro", "rw").set == 0
    assert options("rw", "ro").read_only
    assert options("noatime", "strictatime").set == sys_.MOUNT_ATTR_STRICTATIME
    assert options("nosuid", "suid").clear == sys_.MOUNT_ATTR_NOSUID


def test_whole_access_time_field_is_cleared_before_a_mode_is_set():
    found = options("noatime")
    assert clear_mask(found.set, found.clear) & sys_.MOUNT_ATTR__ATIME == sys_.MOUNT_ATTR__ATIME
    assert clear_mask(sys_.MOUNT_ATTR_RDONLY, 0) == 0


def test_recursive_attributes_are_kept_apart():
    found = options("rbind", "rro", "nosuid")
    assert found.tree_set == sys_.MOUNT_ATTR_RDONLY
    assert found.set == sys_.MOUNT_ATTR_NOSUID
    assert found.bind
    assert found.recursive


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("rprivate", (sys_.MS_PRIVATE, True)),
        ("shared", (sys_.MS_SHARED, False)),
        ("rslave", (sys_.MS_SLAVE, True)),
    ],
)
def test_propagation(word, expected):
    assert options("bind", word).propagation == [expected]


# "Linux mount options" of runtime-spec 1.2, whole
SPECIFIED = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec "
    "noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime "
    "relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate "
    "rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid "
    "sync tmpcopyup unbindable idmap ridmap nodev rnodev symfollow"
).split()


@pytest.mark.parametrize("word", SPECIFIED)
def test_no_option_of_the_specification_is_left_to_the_file_system(word):
    assert options(word).data == []


def test_options_of_a_file_system_stay_data():
    assert options("acl", "noacl", "context=a,b").data == [("acl", None), ("noacl", None), ("context", "a,b")]


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("sync", sys_.MS_SYNCHRONOUS),
        ("dirsync", sys_.MS_DIRSYNC),
        ("mand", sys_.MS_MANDLOCK),
        ("lazytime", sys_.MS_LAZYTIME),
        ("iversion", sys_.MS_I_VERSION),
    ],
)
def test_flags_of_a_file_system(word, flag):
    opposite = "async" if word == "sync" else f"no{word}"
    assert options(word).super_set == flag
    if word != "dirsync":
        assert options(word, opposite).super_set == 0
        assert options(opposite, word).super_set == flag


@pytest.mark.parametrize(
    "word", ["size=1m", "acl", "sync", "dirsync", "mand", "lazytime", "iversion", "tmpcopyup"]
)
def test_what_belongs_to_a_file_system_is_refused_for_a_bind_mount(word):
    with pytest.raises(
        InvalidArgument, match=rf"mounts\[0\]\.options: '{word.partition('=')[0]}' has no meaning"
    ):
        options("bind", word)


def test_what_is_the_default_is_allowed_for_a_bind_mount():
    given = options("bind", "async", "nomand", "nolazytime", "noiversion", "silent", "loud", "defaults")
    plain = options("bind")
    effect = [name for name in given.__slots__ if name not in ("clear", "tree_clear", "super_words")]
    assert [getattr(given, name) for name in effect] == [getattr(plain, name) for name in effect]


def test_value_without_a_name_is_refused():
    with pytest.raises(InvalidArgument, match="=x"):
        options("=x")


def test_plan_of_a_bind_with_relative_source_is_below_the_bundle():
    step = plan_mount(
        Section({"destination": "/a", "source": "b", "options": ["bind"]}, "mounts[0]"), "/bundle", NAMESPACES
    )
    assert isinstance(step, BindMount)
    assert step.source == "/bundle/b"
    assert step.describe() == "bind /bundle/b to /a"


def test_type_bind_without_options_is_a_bind():
    step = plan_mount(
        Section({"destination": "/a", "source": "/b", "type": "bind"}, "mounts[0]"), "/bundle", NAMESPACES
    )
    assert isinstance(step, BindMount)


def test_plan_of_a_file_system():
    step = plan_mount(
        Section({"destination": "/a", "type": "tmpfs", "source": "tmpfs"}, "mounts[0]"), "/bundle", NAMESPACES
    )
    assert isinstance(step, FilesystemMount)
    assert step.describe() == "mount tmpfs on /a"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"type": "tmpfs"}, r"mounts\[0\]\.destination"),
        ({"destination": "/a"}, r"mounts\[0\]\.type"),
        ({"destination": "/a", "type": "bind"}, r"mounts\[0\]\.source"),
        (
            {"destination": "/a", "type": "bind", "source": "/b", "uidMappings": [{"size": 1}]},
            r"mounts\[0\]\.uidMappings",
        ),
        ({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}, "tmpcopyup"),
    ],
)
def test_wrong_mount_is_refused_by_name(document, field):
    with pytest.raises(InvalidArgument, match=field):
        plan_mount(Section(document, "mounts[0]"), "/bundle", NAMESPACES)


def test_mount_of_cgroup_is_planned_elsewhere():
    assert (
        plan_mount(
            Section({"destination": "/sys/fs/cgroup", "type": "cgroup"}, "mounts[0]"), "/bundle", NAMESPACES
        )
        is None
    )


def test_mount_label_is_for_new_file_systems_without_one():
    def context(fstype, *words):
        section = Section(
            {"destination": "/a", "type": fstype, "source": "x", "options": [*words]}, "mounts[0]"
        )
        return plan_mount(
            section, "/bundle", NAMESPACES, "system_u:object_r:container_file_t:s0"
        ).options.data

    label = [("context", "system_u:object_r:container_file_t:s0")]
    assert context("tmpfs") == context("devpts") == context("mqueue") == label
    assert context("proc") == context("sysfs") == context("bind") == []
    assert context("tmpfs", "context=mine") == [("context", "mine")]


def test_remount_is_a_step_of_its_own():
    document = {"destination": "/a", "type": "none", "options": ["remount", "bind", "ro"]}
    step = plan_mount(Section(document, "mounts[0]"), "/bundle", NAMESPACES)
    assert isinstance(step, Remount)
    assert step.describe() == "remount /a"
    with pytest.raises(InvalidArgument, match="tmpcopyup"):
        options("remount", "tmpcopyup")


@pytest.mark.parametrize("words", [("iversion",), ("x=" + "y" * 256,)])
def test_what_only_the_old_call_can_do_does_not_go_with_a_copy(words):
    document = {"destination": "/a", "type": "tmpfs", "options": [*words, "tmpcopyup"]}
    with pytest.raises(InvalidArgument, match=r"mounts\[0\]\.options: tmpcopyup"):
        plan_mount(Section(document, "mounts[0]"), "/bundle", NAMESPACES)
