"""`linux.intelRdt` against a directory that is made to look like resctrl."""

from __future__ import annotations

import os

import pytest

from barque.spi.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup import intel_rdt
from barque_runtime_native.cgroup.intel_rdt import IntelRdt
from barque_runtime_native.spec import Section

DEFAULT = "    L3:0=fff;1=fff\n    MB:0=100;1=100\n"


class Resctrl:
    """A directory in which a new directory has the files of a class or of a monitoring group."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.written = []
        self.refused = ""
        path.mkdir()
        monkeypatch.setattr(intel_rdt, "write", self.write)
        monkeypatch.setattr(intel_rdt.os, "rmdir", self.rmdir)
        mkdir = os.mkdir

        def make(directory, mode=0o777):
            mkdir(directory, mode)
            self.fill(directory)

        self.fill(path)
        (path / "info").mkdir()
        (path / "info/last_cmd_status").write_text("ok\n")
        monkeypatch.setattr(intel_rdt.os, "mkdir", make)

    def fill(self, directory):
        open(f"{directory}/tasks", "w").close()
        if "mon_groups/" not in f"{directory}":
            with open(f"{directory}/schemata", "w") as file:
                file.write(DEFAULT)
            os.makedirs(f"{directory}/mon_groups", exist_ok=True)

    def write(self, path, line):
        assert os.path.exists(path)
        if self.refused and self.refused in line:
            (self.path / "info/last_cmd_status").write_text("mask 0 is empty\n")
            raise OSError(22, "Invalid argument", path)
        self.written.append((os.path.relpath(path, self.path), line))

    def rmdir(self, directory):
        if not os.path.isdir(directory):
            raise FileNotFoundError(2, "no", directory)
        for top, directories, files in os.walk(directory, topdown=False):
            for name in files:
                os.unlink(f"{top}/{name}")
            for name in directories:
                _rmdir(f"{top}/{name}")
        _rmdir(directory)

    def classes(self):
        return {each.name for each in self.path.iterdir() if each.is_dir()} - {"info", "mon_groups"}


_rmdir = os.rmdir


@pytest.fixture
def resctrl(tmp_path, monkeypatch):
    return Resctrl(tmp_path / "resctrl", monkeypatch)


def rdt(resctrl, **values):
    return IntelRdt(Section(values, "linux.intelRdt"), "box", str(resctrl.path))


def test_without_a_class_the_container_gets_one_of_its_own(resctrl):
    found = rdt(
        resctrl, l3CacheSchema="L3:0=ff;1=ff\nMB:0=50", memBwSchema="MB:0=20;1=70", schemata=["L2:0=f"]
    )
    found.apply(42)
    assert resctrl.written == [
        ("box/schemata", "L3:0=ff;1=ff"),
        ("box/schemata", "MB:0=20;1=70"),
        ("box/schemata", "L2:0=f"),
        ("box/tasks", "42"),
    ]
    assert resctrl.classes() == {"box"}
    found.enter(43)
    assert resctrl.written[-1] == ("box/tasks", "43")
    rdt(resctrl).remove()
    rdt(resctrl).remove()
    assert resctrl.classes() == set()


def test_without_schemata_none_is_written(resctrl):
    rdt(resctrl, enableMonitoring=True).apply(42)
    assert resctrl.written == [("box/tasks", "42"), ("box/mon_groups/box/tasks", "42")]


def test_class_that_is_there_is_joined_and_stays(resctrl):
    os.mkdir(resctrl.path / "gold")
    resctrl.fill(resctrl.path / "gold")
    rdt(resctrl, closID="gold").apply(42)
    rdt(resctrl, closID="gold", l3CacheSchema="L3: 0=0FFF ;1=fff").apply(43)
    assert resctrl.written == [("gold/tasks", "42"), ("gold/tasks", "43")]
    with pytest.raises(InvalidArgument, match=r"class 'gold' exists and does not have 'L3:0=f'"):
        rdt(resctrl, closID="gold", schemata=["L3:0=f"]).apply(44)
    rdt(resctrl, closID="gold").remove()
    assert resctrl.classes() == {"gold"}


def test_class_with_schemata_is_made_when_missing_and_without_must_be_there(resctrl):
    with pytest.raises(FailedPrecondition, match=r"linux\.intelRdt\.closID: there is no class 'gold'"):
        rdt(resctrl, closID="gold").apply(42)
    rdt(resctrl, closID="gold", memBwSchema="MB:0=10").apply(42)
    assert resctrl.written == [("gold/schemata", "MB:0=10"), ("gold/tasks", "42")]


def test_slash_is_the_class_of_everybody(resctrl):
    found = rdt(resctrl, closID="/", enableMonitoring=True)
    found.apply(42)
    assert resctrl.written == [("tasks", "42"), ("mon_groups/box/tasks", "42")]
    found.remove()
    assert resctrl.path.is_dir()
    assert not (resctrl.path / "mon_groups/box").exists()


def test_schema_the_kernel_refuses_is_named_and_undone(resctrl):
    resctrl.refused = "L3:0=0"
    with pytest.raises(
        FailedPrecondition, match=r"^linux\.intelRdt: .*schemata: invalid argument: mask 0 is empty"
    ):
        rdt(resctrl, l3CacheSchema="L3:0=0", enableMonitoring=True).apply(42)
    assert resctrl.classes() == set()


def test_group_of_that_name_is_not_taken_over(resctrl):
    os.mkdir(resctrl.path / "box")
    resctrl.fill(resctrl.path / "box")
    with pytest.raises(AlreadyExists, match=r"linux\.intelRdt"):
        rdt(resctrl).apply(42)
    assert resctrl.classes() == {"box"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"closID": ".."}, "closID"),
        ({"closID": "a/b"}, "closID"),
        ({"closID": "/a"}, "closID"),
        ({"memBwSchema": "L3:0=f"}, "memBwSchema"),
        ({"memBwSchema": "MB:0=1\nMB:1=1"}, "memBwSchema"),
        ({"schemata": ["a\nb"]}, "schemata"),
        ({"schemata": "a"}, "schemata"),
        ({"enableMonitoring": 1}, "enableMonitoring"),
    ],
)
def test_wrong_value_names_its_field(values, field):
    with pytest.raises(InvalidArgument, match=rf"linux\.intelRdt\.{field}"):
        IntelRdt(Section(values, "linux.intelRdt"), "box")


def test_host_without_resctrl_is_told_what_it_lacks(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FailedPrecondition, match=r"^linux\.intelRdt: Intel RDT is not enabled") as raised:
            IntelRdt(Section({"closID": "x"}, "linux.intelRdt"), "box", str(path)).check_host()
        assert "mount" in raised.value.hint
