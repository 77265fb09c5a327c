"""Mount options become attribute masks, propagation and data."""

from __future__ import annotations

import pytest

from barque.spi.errors import InvalidArgument
from barque_runtime_native import syscalls as sys_
from barque_runtime_native.mount_options import MountOptions
from barque_runtime_native.mounts import BindMount, FilesystemMount, clear_mask, plan_mount
from barque_runtime_native.spec import Section


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


@pytest.mark.parametrize("word", ["idmap", "ridmap", "remount", "acl"])
def test_option_that_is_not_honoured_is_refused_by_name(word):
    with pytest.raises(InvalidArgument, match=rf"mounts\[0\]\.options: '{word}'"):
        options(word)


def test_data_for_a_bind_mount_is_refused():
    with pytest.raises(InvalidArgument, match="size"):
        options("bind", "size=1m")


def test_plan_of_a_bind_with_relative_source_is_below_the_bundle():
    step = plan_mount(
        Section({"destination": "/a", "source": "b", "options": ["bind"]}, "mounts[0]"), "/bundle"
    )
    assert isinstance(step, BindMount)
    assert step.source == "/bundle/b"
    assert step.describe() == "bind /bundle/b to /a"


def test_type_bind_without_options_is_a_bind():
    step = plan_mount(Section({"destination": "/a", "source": "/b", "type": "bind"}, "mounts[0]"), "/bundle")
    assert isinstance(step, BindMount)


def test_plan_of_a_file_system():
    step = plan_mount(
        Section({"destination": "/a", "type": "tmpfs", "source": "tmpfs"}, "mounts[0]"), "/bundle"
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
        plan_mount(Section(document, "mounts[0]"), "/bundle")


def test_mount_of_cgroup_is_planned_elsewhere():
    assert (
        plan_mount(Section({"destination": "/sys/fs/cgroup", "type": "cgroup"}, "mounts[0]"), "/bundle")
        is None
    )
