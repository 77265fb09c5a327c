"""Which ids a rootless engine gets, and what it says when it gets only one."""

import os
import shutil
import subprocess

import pytest

from barque.engine.rootless import idmaps
from barque.engine.rootless.idmaps import plan_maps, subordinate, write_maps
from barque.spi.errors import FailedPrecondition


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")


def files(tmp_path, uids="", gids=""):
    (tmp_path / "uid").write_text(uids)
    (tmp_path / "gid").write_text(gids)
    return str(tmp_path / "uid"), str(tmp_path / "gid")


def test_ranges_by_name_and_by_number_in_order(tmp_path):
    path = tmp_path / "sub"
    path.write_text("alice:100000:65536\nbob:200000:10\n1000:300000:5\nalice:400000:1\n")
    assert subordinate(str(path), "alice", 1000) == ((100000, 65536), (300000, 5), (400000, 1))
    assert subordinate(str(path), "carol", 7) == ()


@pytest.mark.parametrize(
    "line",
    ["alice", "alice:", "alice:1", "alice:x:5", "alice:5:0", "alice:5:-1", ":1:5", "alice:1:99999999999"],
)
def test_lines_that_are_no_range_are_passed_over(tmp_path, line):
    path = tmp_path / "sub"
    path.write_text(f"{line}\nalice:7:8\n")
    assert subordinate(str(path), "alice", 1000) == ((7, 8),)


def test_no_file_is_no_range(tmp_path):
    assert subordinate(str(tmp_path / "none"), "alice", 1000) == ()


def test_an_unknown_user_has_no_empty_name(tmp_path):
    """A line without a name must not be everybody's."""
    path = tmp_path / "sub"
    path.write_text(":100000:65536\n")
    assert subordinate(str(path), "", 4242) == ()


def test_plan_with_ranges(tmp_path, installed):
    maps = plan_maps(4242424, *files(tmp_path, "4242424:100:5\n", "4242424:200:6\n"))
    assert (maps.uids, maps.gids, maps.warning) == (((100, 5),), ((200, 6),), "")


def test_plan_without_a_range_names_file_and_remedy(tmp_path, installed):
    uid, gid = files(tmp_path, "4242424:100:5\n")
    maps = plan_maps(4242424, uid, gid)
    assert (maps.uids, maps.gids) == ((), ())
    assert f"no range for 4242424 in {gid};" in maps.warning
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 4242424" in maps.warning


def test_plan_without_the_programs_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    maps = plan_maps(4242424, *files(tmp_path, "4242424:100:5\n", "4242424:200:6\n"))
    assert maps.uids == ()
    assert "newuidmap and newgidmap not installed" in maps.warning
    assert "apt install uidmap" in maps.warning


def test_helpers_are_given_the_own_id_as_root_and_the_ranges_after_it(monkeypatch, installed):
    asked = []

    def run(words, **_):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(idmaps.subprocess, "run", run)
    write_maps(77, idmaps.IdMaps(((100, 5), (300, 2)), ((200, 6),)))
    assert asked == [
        ["/usr/bin/newuidmap", "77", "0", str(os.geteuid()), "1", "1", "100", "5", "6", "300", "2"],
        ["/usr/bin/newgidmap", "77", "0", str(os.getegid()), "1", "1", "200", "6"],
    ]


def test_a_helper_that_fails_is_quoted(monkeypatch, installed):
    failed = subprocess.CompletedProcess([], 1, "", "newuidmap: write to uid_map failed\n")
    monkeypatch.setattr(idmaps.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(FailedPrecondition, match="write to uid_map failed") as caught:
        write_maps(77, idmaps.IdMaps(((100, 5),), ((100, 5),)))
    assert "setuid" in caught.value.hint
