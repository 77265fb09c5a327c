"""The worker that a shim keeps ready after an exec that followed another."""

import os
import signal
import time
from pathlib import Path

import pytest
from shim_harness import Machine

from barque.shim.protocol import ClientAttach
from barque.spi.errors import Conflict

pytestmark = pytest.mark.root
OUTPUT = ClientAttach(False, True, True)


@pytest.fixture
def container(tmp_path):
    machine = Machine(tmp_path)
    try:
        yield machine.launch("sleep", "100").started()
    finally:
        machine.close()


def run(container, id, *args, **more):
    """An exec's output and code."""
    client = container.exec(*args, id=id, attach=OUTPUT, **more)
    output = b""
    while data := client.recv(65536):
        output += data
    client.close()
    return output, container.until("exec-exit")["code"]


def workers(container):
    """The shim's children but init."""
    with container.client() as shim:
        shim_pid = shim.hello()["shim_pid"]
    children = Path(f"/proc/{shim_pid}/task/{shim_pid}/children").read_text().split()
    return [int(pid) for pid in children if int(pid) != container.pid]


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def frame(text):
    return b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text


def test_each_of_many_execs_has_its_own_output_and_code(container):
    for number in range(6):
        word = f"word{number}\n".encode()
        assert run(container, f"e{number}", "sh", "-c", f"echo word{number}; exit {number}") == (
            frame(word),
            number,
        )
    assert len(workers(container)) == 1


def test_a_single_exec_leaves_no_worker(container):
    run(container, "one", "true")
    until(lambda: not workers(container), 2)


def test_the_worker_goes_when_no_exec_comes(container):
    run(container, "one", "true")
    run(container, "two", "true")
    until(lambda: len(workers(container)) == 1, 2)
    until(lambda: not workers(container), 5)


def test_the_worker_holds_nothing_of_the_shims(container):
    run(container, "one", "true")
    run(container, "two", "true")
    until(lambda: len(workers(container)) == 1, 2)
    (worker,) = workers(container)
    until(lambda: len(os.listdir(f"/proc/{worker}/fd")) == 4, 2)  # 0 to 2, and its line


def test_a_worker_that_was_killed_costs_nobody_an_exec(container):
    run(container, "one", "true")
    run(container, "two", "true")
    until(lambda: len(workers(container)) == 1, 2)
    os.kill(workers(container)[0], signal.SIGKILL)
    assert run(container, "three", "echo", "here") == (frame(b"here\n"), 0)


def test_what_fails_in_a_spare_worker_is_told_as_ever(container):
    run(container, "one", "true")
    run(container, "two", "true")
    with container.client() as shim, pytest.raises(Exception, match="executable file not found"):
        shim.exec("three", {"args": ["/no/such"]}, None, None)
    with pytest.raises(Conflict, match="exists already"):
        container.exec("true", id="two")
    assert run(container, "four", "echo", "on") == (frame(b"on\n"), 0)


def test_a_process_too_large_for_a_packet_is_started_all_the_same(container):
    run(container, "one", "true")
    run(container, "two", "true")
    long = "x" * 100_000
    output, code = run(container, "three", "sh", "-c", "echo ${#LONG}", env=[f"LONG={long}"])
    assert (output, code) == (frame(b"100000\n"), 0)
