"""Which process's namespace a copy enters: that of init, by pid and start time, and of nobody who has its pid since."""

import os
import subprocess
from types import SimpleNamespace

import pytest

from barque.engine.files import namespaces
from barque.engine.processes import start_time
from barque.spi.errors import Conflict


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(namespaces, "_PATIENCE", 0.05)


def record(pid, starttime, *, running=True):
    return SimpleNamespace(
        id="c1", running=running, stored=SimpleNamespace(state=SimpleNamespace(pid=pid), starttime=starttime)
    )


def test_the_namespace_of_init():
    fd = namespaces.mount_namespace(record(os.getpid(), start_time(os.getpid())))
    try:
        assert os.fstat(fd).st_ino == os.stat("/proc/self/ns/mnt").st_ino
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


@pytest.mark.row("R7")
def test_another_process_with_the_pid_is_not_entered():
    with pytest.raises(Conflict, match="container c1 is ending"):
        namespaces.mount_namespace(record(os.getpid(), start_time(os.getpid()) + 1))
    for pid in (0, 1, -1):
        with pytest.raises(Conflict):
            namespaces.mount_namespace(record(pid, start_time(1)))


def test_a_pid_that_is_given_away_between_two_looks(monkeypatch):
    """The start time is right before the namespace is opened and wrong after."""
    times = iter([7, 8])
    monkeypatch.setattr(namespaces, "start_time", lambda _pid: next(times, 8))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Conflict):
        namespaces.mount_namespace(record(os.getpid(), 7))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_is_gone():
    process = subprocess.Popen(["true"])
    started = start_time(process.pid)
    process.wait()
    with pytest.raises(Conflict):
        namespaces.mount_namespace(record(process.pid, started or 1))


def test_a_container_that_has_ended_has_none():
    assert namespaces.mount_namespace(record(os.getpid(), 1, running=False)) is None
