"""A container that changes a shared volume under the feet of the next one's start (row S6).

BARQUE_RACE_STARTS=2000 makes as many starts as the row asks for; without it each shape of the attack gets fewer.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_bundle import import_paths, mount, write_config

pytestmark = [pytest.mark.root, pytest.mark.row("S6")]

STARTS = int(os.environ.get("BARQUE_RACE_STARTS", "300"))
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def canary(tmp_path):
    """A directory of the host's: with what a start would mount on, write to or make."""
    path = tmp_path / "canary"
    for name in ("deep", "mask", "cwd"):
        (path / name).mkdir(parents=True)
        (path / name / "secret").write_text("untouched")
    (path / "file").write_text("untouched")
    before = snapshot(path)
    yield path
    assert snapshot(path) == before


def snapshot(path):
    """Every name with its kind, mode, owner, size and change time."""
    found = {}
    for each in sorted(path.rglob("*")):
        info = each.lstat()
        found[str(each)] = (info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return found


def exchange(one, two):
    """In a process of its own: the two names change places as fast as the kernel can, until it is killed."""
    pid = os.fork()
    if pid:
        return pid
    try:
        libc = ctypes.CDLL(None)
        first, second = os.fsencode(one), os.fsencode(two)
        while True:
            libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE)
    finally:
        os._exit(1)


LINKS = {
    "absolute": lambda canary, volume: str(canary),
    "climbing": lambda canary, volume: "../" * 40 + str(canary)[1:],
    "magic": lambda canary, volume: "/proc/self/root" + str(canary),
    "descriptor": lambda canary, volume: f"/proc/self/fd/3/../../../..{canary}",
    "cwd": lambda canary, volume: "/proc/self/cwd/" + "../" * 40 + str(canary)[1:],
    "parent": lambda canary, volume: "/proc/1/root" + str(canary),
}


def attacked(box, volume, source):
    """A configuration whose every kind of step goes through the name that changes."""
    config = box.config("true")
    config["mounts"].extend(
        [
            mount("/vol", "bind", str(volume), "rbind"),
            mount("/vol/data/deep", "bind", str(source), "bind"),
            mount("/vol/data/made/by/us", "bind", str(source), "bind"),
            mount("/vol/data/file", "bind", str(source / "file"), "bind"),
            mount("/vol/data/newfile", "bind", str(source / "file"), "bind"),
            mount("/vol/data/tmp", "tmpfs", "tmpfs", "tmpcopyup"),
        ]
    )
    config["linux"]["devices"] = [{"path": "/vol/data/node", "type": "c", "major": 1, "minor": 3}]
    config["linux"]["maskedPaths"] = [*config["linux"]["maskedPaths"], "/vol/data/mask", "/vol/data/file"]
    config["linux"]["readonlyPaths"] = [*config["linux"]["readonlyPaths"], "/vol/data/cwd"]
    return config


@pytest.mark.timeout(900)
@pytest.mark.parametrize("link", LINKS)
def test_racer_on_a_shared_volume(box, canary, tmp_path, link):
    """Whatever the outcome of a start: nothing of the host's is made, changed or mounted on."""
    volume, source = tmp_path / "volume", tmp_path / "source"
    for name in ("deep", "mask", "cwd"):
        (volume / "data" / name).mkdir(parents=True)
    source.mkdir()
    (source / "file").write_text("for the container")
    (volume / "trap").symlink_to(LINKS[link](canary, volume))
    write_config(box.bundle, attacked(box, volume, source))
    box.root.mkdir()
    mounts = Path("/proc/self/mounts").read_text()
    racer = exchange(volume / "data", volume / "trap")
    try:
        count = max(1, STARTS // len(LINKS))
        result = subprocess.run(
            [sys.executable, Path(__file__).with_name("native_starts.py"), box.bundle, box.root, str(count)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800, check=False,
            env={**os.environ, "PYTHONPATH": import_paths()},
        )  # fmt: skip
    finally:
        os.kill(racer, 9)
        os.waitpid(racer, 0)
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert sum(outcomes.values()) == count
    mine = str(tmp_path)
    assert [line for line in Path("/proc/self/mounts").read_text().splitlines() if mine in line] == [
        line for line in mounts.splitlines() if mine in line
    ]


def test_the_race_can_be_won(tmp_path):
    """By a start that looks first and makes the directory then: otherwise the test above would prove nothing."""
    data, canary = tmp_path / "data", tmp_path / "canary"
    data.mkdir()
    canary.mkdir()
    (tmp_path / "trap").symlink_to(canary)
    racer = exchange(data, tmp_path / "trap")
    try:
        for number in range(100_000):
            if not data.is_symlink():
                (data / f"made-{number}").mkdir()
            if any(canary.iterdir()):
                return
    finally:
        os.kill(racer, 9)
        os.waitpid(racer, 0)
    pytest.fail("the racer is too slow: nothing was made in the canary")
