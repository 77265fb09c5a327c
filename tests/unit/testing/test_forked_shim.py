"""The helper process that plays the shim."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from barque.spi.errors import Conflict
from barque.testing import procfs
from barque.testing.shim import ForkedShim, ShimDied, wait_child

pytestmark = pytest.mark.root


@pytest.fixture
def shim():
    shim = ForkedShim("subject")
    yield shim
    shim.close()


def where(subject):
    return subject, os.getpid(), os.readlink("/proc/self/ns/mnt")


def refuse(subject):
    raise Conflict("not now", hint="later", exit_code=3)


def crash(subject):
    raise KeyError("defect")


def spawn(subject, *args):
    return os.posix_spawn(args[0], list(args), {})


def spawn_orphan(subject):
    """A grandchild whose parent ends."""
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)


def sleep(subject, seconds):
    time.sleep(seconds)


def test_it_is_another_process_with_its_own_mounts(shim):
    subject, pid, namespace = shim.call(where)
    assert subject == "subject"
    assert pid == shim.pid != os.getpid()
    assert namespace != os.readlink("/proc/self/ns/mnt")


def test_errors_come_back(shim):
    with pytest.raises(Conflict) as raised:
        shim.call(refuse)
    assert (raised.value.message, raised.value.hint, raised.value.exit_code) == ("not now", "later", 3)
    with pytest.raises(AssertionError, match="KeyError: 'defect'"):
        shim.call(crash)
    assert shim.call(where)[0] == "subject"


def test_it_adopts_orphans_and_reaps_them(shim):
    orphan = shim.call(spawn_orphan)
    assert orphan in procfs.descendants(shim.pid)
    os.kill(orphan, signal.SIGTERM)
    assert shim.call(wait_child, orphan) == -signal.SIGTERM


def test_exit_code_of_a_child(shim):
    pid = shim.call(spawn, "/bin/sh", "-c", "exit 9")
    assert shim.call(wait_child, pid) == 9


def test_close_ends_what_is_left_and_tells(shim):
    pid = shim.call(spawn, "/bin/sleep", "60")
    assert shim.close() == [pid]
    assert procfs.has_ended(pid)
    assert shim.close() == []


def test_kill_in_the_middle_of_a_call(shim):
    shim.send(sleep, 60)
    pid = shim.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ShimDied):
        shim.receive()
    shim.kill()
    shim.kill()
    assert procfs.has_ended(pid)


def test_answer_that_does_not_come(shim):
    shim.send(sleep, 60)
    with pytest.raises(TimeoutError):
        shim.receive(timeout=0.05)
    shim.kill()
