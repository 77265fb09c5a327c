"""The helpers that other tests trust: each must notice what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from barque.testing import procfs
from barque.testing.canary import Canary
from barque.testing.census import SESSION_VARIABLE, Census, Leak, Scope, no_leaks


def leaks(scope, action):
    """The message of the leak that `action` makes."""
    with pytest.raises(Leak) as raised, no_leaks(scope, patience=0):
        action()
    return str(raised.value)


def test_nothing_leaks(tmp_path):
    with no_leaks(Scope(roots=[tmp_path], links=True, fds_of=[os.getpid()], everything=False)):
        (tmp_path / "d").mkdir()
        (tmp_path / "d").rmdir()


def test_running_child_and_zombie_are_noticed():
    for command in (["sleep", "60"], ["true"]):
        child = subprocess.Popen(command)
        if command == ["true"]:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        try:
            found = Census().take(Scope()).found["process"]
            wanted = "zombie" if command == ["true"] else "sleep 60"
            assert next(line for line in found if line.startswith(f"{child.pid}@")).endswith(wanted)
        finally:
            child.kill()
            child.wait()


def test_child_that_lost_its_parent_is_noticed(monkeypatch):
    monkeypatch.setenv(SESSION_VARIABLE, "unit-test-of-the-census")
    script = "import os, subprocess; print(subprocess.Popen(['sleep', '60'], stdout=2).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert orphan not in procfs.descendants(os.getpid())
        assert any(line.startswith(f"{orphan}@") for line in Census.take(Scope()).found["process"])
    finally:
        os.kill(orphan, 9)


def test_directory_is_noticed_in_both_directions(tmp_path):
    (tmp_path / "old").mkdir()
    assert f"+ directory {tmp_path}/new" in leaks(Scope(roots=[tmp_path]), (tmp_path / "new").mkdir)
    assert f"- directory {tmp_path}/old" in leaks(Scope(roots=[tmp_path]), (tmp_path / "old").rmdir)


def test_descriptor_is_noticed(tmp_path):
    (tmp_path / "file").write_text("")
    opened = []
    message = leaks(
        Scope(fds_of=[os.getpid()]), lambda: opened.append(os.open(tmp_path / "file", os.O_RDONLY))
    )
    os.close(opened[0])
    assert f"-> {tmp_path}/file" in message


@pytest.mark.root
def test_mount_is_noticed(tmp_path):
    point = tmp_path / "a b"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "kit", point]
    try:
        message = leaks(Scope(mounts_below=[tmp_path]), lambda: subprocess.run(mount, check=True))
        assert f"+ mount {point} (tmpfs from kit)" in message
        with no_leaks(Scope(mounts_below=[tmp_path / "elsewhere"])):
            subprocess.run(["umount", point], check=True)
    finally:
        subprocess.run(["umount", "-q", point], check=False)


@pytest.mark.root
def test_cgroup_is_noticed():
    (top,) = [m.point for m in procfs.mounts() if m.kind in ("cgroup", "cgroup2") and "pids" in m.point][
        :1
    ] or [""]
    if not top:
        pytest.skip("no pids hierarchy of cgroup v1")
    name = f"barque-census-{os.getpid()}"
    try:
        assert f"+ cgroup {top}/{name}" in leaks(Scope(cgroups=[name]), lambda: os.mkdir(f"{top}/{name}"))
    finally:
        os.rmdir(f"{top}/{name}")


def test_state_of_a_process_is_no_difference():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        with no_leaks(Scope(), patience=0):
            child.stdin.write(b"work\n" * 1000)
    finally:
        child.communicate()


def test_patience_waits_for_what_ends_by_itself():
    started = []
    with no_leaks(Scope(), patience=10):
        started.append(subprocess.Popen(["sleep", "0.3"]))
        os.posix_spawn("/bin/true", ["true"], {})
        started[0].wait()
        os.wait()


@pytest.fixture
def canary(tmp_path):
    return Canary.plant(tmp_path / "canary")


def test_untouched_canary_lives(canary):
    (canary.root / "etc/passwd").read_bytes()
    os.listdir(canary.root / "sealed")
    canary.check()


@pytest.mark.parametrize(
    ("attack", "path"),
    [
        (lambda root: (root / "etc/passwd").write_bytes(b"canary: nobody writes HERE\n"), "etc/passwd"),
        (lambda root: (root / "etc/shadow").chmod(0o644), "etc/shadow"),
        (lambda root: [(root / "bin/tool").chmod(mode) for mode in (0o4755, 0o755)], "bin/tool"),
        (lambda root: (root / "bin/tool").unlink(), "bin/tool"),
        (lambda root: (root / "empty/new").write_text(""), "empty/new"),
        (lambda root: (root / "empty").rmdir() or (root / "empty").symlink_to("/"), "empty"),
        (lambda root: os.link(root / "etc/shadow", root.parent / "hard"), "etc/shadow"),
        (lambda root: os.utime(root / "etc/passwd", ns=(1, 1)), "etc/passwd"),
        (lambda root: (root / "etc/link").unlink() or (root / "etc/link").symlink_to("shadow"), "etc/link"),
    ],
)
def test_every_touch_is_told(canary, attack, path):
    attack(canary.root)
    assert path in "\n".join(canary.changes())
    with pytest.raises(AssertionError, match="the host was touched"):
        canary.check()
