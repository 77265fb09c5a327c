"""The option X-mount.idmap, read and refused; what it does is shown by the storage kit, as root."""

from __future__ import annotations

import pytest

from barque.shim import idmapped
from barque.spi.errors import InvalidArgument
from barque.spi.storage import IdRange
from barque.spi.trees import idmap


def test_users_and_groups_are_told_apart():
    users, groups = idmapped._ranges("X-mount.idmap=u:0:100000:65536 g:0:200000:65536 b:70000:5:1")
    assert users == [(0, 100000, 65536), (70000, 5, 1)]
    assert groups == [(0, 200000, 65536), (70000, 5, 1)]


def test_a_range_without_a_kind_is_for_both():
    assert idmapped._ranges("X-mount.idmap=0:1000:1") == ([(0, 1000, 1)], [(0, 1000, 1)])


@pytest.mark.parametrize(
    "value", ["", "x:0:1:1", "u:0:1", "b:0:1:1:1", "b:-1:1:1", "u:0:1:1", "b:0:1:²", "/proc/1/ns/user"]
)
def test_what_is_no_map_is_refused(value):
    with pytest.raises(InvalidArgument, match="idmap"):
        idmapped._ranges(f"X-mount.idmap={value}")


def test_what_drivers_write_is_what_is_read():
    option = idmap.option((IdRange("b", 0, 100000, 10), IdRange("u", 20, 5, 3)))
    assert idmapped._ranges(option) == ([(0, 100000, 10), (20, 5, 3)], [(0, 100000, 10)])


def test_the_hosts_root_gets_an_id_that_nobody_else_has():
    assert idmapped._with_root([(0, 100000, 65536)])[-1] == ((1 << 32) - 2, 0, 1)
    assert idmapped._with_root([(0, 5, 1), ((1 << 32) - 3, 9, 2)])[-1] == ((1 << 32) - 4, 0, 1)
    assert idmapped._with_root([(0, 0, 10)]) == [(0, 0, 10)]


def test_upper_and_work_directory_are_side_by_side():
    assert idmapped._writable_parent(("upperdir=/s/upper", "workdir=/s/work", "index=off")) == "/s"
    assert idmapped._writable_parent(("index=off",)) == ""
    with pytest.raises(InvalidArgument, match="side by side"):
        idmapped._writable_parent(("upperdir=/a/upper", "workdir=/b/work"))
