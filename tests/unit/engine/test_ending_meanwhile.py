"""A container that ends, or is removed, while somebody asks something of it: a conflict, and never a failure of the daemon (row R36)."""

import os
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from barque.engine import attaching, execs
from barque.engine.lifecycle import asking, joining
from barque.engine.processes import start_time
from barque.shim.client import ShimEnded
from barque.spi.errors import Conflict, NotFound, ResourceExhausted, Unavailable
from barque.spi.frontend import AttachRequest, ContainerConfig, ExecConfig
from barque.spi.log import LogEntry

pytestmark = pytest.mark.row("R36")
GONE = 2**22  # beyond pid_max: nobody has it


def record(pid, starttime=1):
    config = ContainerConfig("i")
    stored = SimpleNamespace(
        id="c1", config=config, hostname="h", starttime=starttime, state=SimpleNamespace(pid=pid, status="running"),
    )  # fmt: skip
    return SimpleNamespace(id="c1", stored=stored, running=True, restarting=False, removed=False)


class Containers:
    def __init__(self, found):
        self.found = found

    def find(self, ref):
        return self.found


def core(tmp_path):
    return SimpleNamespace(
        host=SimpleNamespace(bounding=frozenset()),
        layout=SimpleNamespace(container=lambda id: tmp_path),
        publish=lambda *a, **k: None,
    )


def service(tmp_path, found):
    return execs.ExecService(core(tmp_path), Containers(found))


def test_an_exec_in_one_that_has_just_ended(tmp_path):
    made = service(tmp_path, record(GONE))
    id = made.create("c1", ExecConfig(("true",)))
    with pytest.raises(Conflict, match="container c1 is not running"):
        made.start(id, None)
    assert made.get(id).exit_code == 126


@pytest.mark.parametrize(("ended", "error"), [(True, Conflict), (False, ResourceExhausted)])
def test_what_the_kernel_says_of_a_dying_pid_namespace(tmp_path, monkeypatch, ended, error):
    """fork(2) says ENOMEM there; of one that runs on, it means what it says."""
    own = os.getpid()
    made = service(tmp_path, record(own, start_time(own) + ended))

    @contextmanager
    def shim(core, record):
        def refuse(*_):
            raise ResourceExhausted("process: cannot allocate memory")

        yield SimpleNamespace(exec=refuse)

    monkeypatch.setattr(execs, "running_shim", shim)
    id = made.create("c1", ExecConfig(("true",), user="0:0"))
    with pytest.raises(error):
        made.start(id, None)


def test_a_session_that_was_dropped_with_its_container(tmp_path):
    made = service(tmp_path, record(GONE))
    id = made.create("c1", ExecConfig(("true",)))
    made.drop("c1")
    made._change(id, running=True)
    with pytest.raises(NotFound):
        made.get(id)


def test_a_shim_that_is_gone(tmp_path):
    with (
        pytest.raises(Conflict, match="container c1 is not running"),
        asking.running_shim(core(tmp_path), record(GONE)),
    ):
        pass


def test_what_a_shim_says_while_it_goes(tmp_path, monkeypatch):
    @contextmanager
    def connect(state):
        yield SimpleNamespace()

    monkeypatch.setattr(asking, "ShimClient", SimpleNamespace(connect=connect))
    for raised, seen in (
        (ShimEnded("the shim has ended"), Conflict),
        (Unavailable("busy"), Unavailable),
        (NotFound("exec"), NotFound),
    ):
        with pytest.raises(seen), asking.running_shim(core(tmp_path), record(GONE)):
            raise raised


def test_namespaces_of_one_that_has_just_ended_or_whose_pid_is_anothers():
    own = os.getpid()
    for other in (record(GONE), record(own, start_time(own) - 1)):
        with pytest.raises(Conflict, match="cannot join network of a non running container: c1"):
            joining.joined_sandbox(Containers(other), "c1")
        with pytest.raises(Conflict, match="cannot join PID of a non running container: c1"):
            joining.joined_namespace(Containers(other), "container:c1", "pid")
    os.close(joining.joined_sandbox(Containers(record(own, start_time(own))), "c1"))


def test_a_client_that_leaves_in_the_middle_of_the_log(tmp_path, monkeypatch):
    ours, theirs = socket.socketpair()
    theirs.close()
    stored = record(GONE)
    attacher = attaching.Attacher(core(tmp_path), Containers(stored))
    monkeypatch.setattr(attacher, "logs", lambda *_: iter([LogEntry("stdout", 1, b"x\n")] * 3))
    with ours:
        attacher._replay(stored, AttachRequest(logs=True, stream=False), ours.fileno())
