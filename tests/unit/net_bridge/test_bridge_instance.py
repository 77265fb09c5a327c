from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_net_bridge import instance as module
from barque_net_bridge.instance import OPTION, claim, instance, number_of


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_names() -> None:
    assert (instance("barque0", "barque", 0).bridge, instance("barque0", "barque", 0).table) == (
        "barque0",
        "barque",
    )
    assert (instance("barque0", "barque", 2).bridge, instance("barque0", "barque", 2).table) == (
        "barque2",
        "barque_2",
    )
    assert instance("br", "t", 3).bridge == "br3"
    assert instance("br-7", "t", 3).bridge == "br-10"
    assert instance("barque0", "t", 1).group not in {
        instance("barque0", "t", 0).group + step for step in (-1, 0, 1)
    }
    with pytest.raises(InvalidArgument):
        instance("x" * 15, "t", 1)


def test_number_in_options() -> None:
    assert number_of({}) == 0
    assert number_of({OPTION: "3"}) == 3
    for damaged in ("-1", "x", "", "9" * 50, "²"):
        assert number_of({OPTION: damaged}) == 0


def test_each_daemon_gets_names_of_its_own(locks: Path) -> None:
    first, second = (claim("barque0", "barque", None) for _ in range(2))
    assert [one.instance.number for one in (first, second)] == [0, 1]
    with pytest.raises(FailedPrecondition, match="barque1 belongs to another running daemon"):
        claim("barque0", "barque", 1)
    first.release()
    third = claim("barque0", "barque", None)
    assert third.instance.number == 0
    second.release()
    assert claim("barque0", "barque", 1).instance.number == 1
    third.release()


def test_killed_daemons_leave_no_lock_and_soon_no_file(locks: Path) -> None:
    killed = claim("barque0", "barque", None)
    os.close(killed.descriptor)  # what the kernel does
    (locks / "999-gone0").touch()
    successor = claim("barque0", "barque", 0)
    assert [path.name for path in locks.iterdir()] == [os.path.basename(successor.path)]
    successor.release()
    assert list(locks.iterdir()) == []


def test_a_lock_that_cannot_be_had_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOCKS", "/proc/no-such-place")
    unlocked = claim("barque0", "barque", None)
    assert unlocked.instance.number == 0
    assert "cannot be told from this one" in caplog.text
    unlocked.release()


def test_a_link_in_place_of_a_lock_is_not_followed(locks: Path, tmp_path: Path) -> None:
    locks.mkdir()
    target = tmp_path / "precious"
    taken = claim("barque0", "barque", None)
    taken.release()
    os.symlink(target, taken.path)
    claim("barque0", "barque", None)
    assert not target.exists()
