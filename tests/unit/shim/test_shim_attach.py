"""Attached clients: framing, input, half-close, slow readers."""

from __future__ import annotations

import base64
import os
import signal
import socket
import time

import pytest
from shim_harness import client_pair, eventually, frames, is_readable, read_all, read_event, read_until

from barque.shim.protocol import ClientAttach
from barque.spi.errors import BarqueError, Conflict, InvalidArgument


def test_a_client_attached_before_the_start_gets_every_byte_framed(machine):
    ours, theirs = client_pair()
    attach = ClientAttach(False, True, True)
    container = machine.launch("sh", "-c", "echo one; echo two >&2; echo three", clients=[(attach, theirs)])
    container.started()
    assert frames(read_all(ours)) == {1: b"one\nthree\n", 2: b"two\n"}
    assert container.event()["event"] == "exit"


def test_the_exit_event_comes_before_the_client_is_closed(machine):
    ours, theirs = client_pair()
    container = machine.launch("true", clients=[(ClientAttach(False, True, True), theirs)]).started()
    assert read_all(ours) == b""
    assert is_readable(container.control, 0)
    assert container.event()["event"] == "exit"


def test_a_client_gets_only_the_streams_it_asked_for(machine):
    ours, theirs = client_pair()
    container = machine.launch(
        "sh", "-c", "echo one; echo two >&2", clients=[(ClientAttach(False, False, True), theirs)]
    ).started()
    assert frames(read_all(ours)) == {2: b"two\n"}
    container.until("exit")


def test_sixteen_clients_see_the_same(machine):
    container = machine.launch("sh", "-c", "read x; seq 20000; exit 0", open_stdin=True).started()
    clients = [container.attach() for _ in range(16)]
    writer = container.attach(stdin=True)
    writer.sendall(b"go\n")
    expected = b"".join(b"%d\n" % n for n in range(1, 20001))
    for client in (*clients, writer):
        assert frames(read_all(client))[1] == expected


def test_input_reaches_the_process_and_preread_comes_first(machine):
    preread = base64.b64encode(b"before ").decode()
    container = machine.launch("head", "-n", "1", open_stdin=True).started()
    client = container.attach(stdin=True, preread=preread)
    client.sendall(b"after\n")
    assert frames(read_all(client)) == {1: b"before after\n"}


def test_without_open_stdin_the_process_reads_nothing(machine):
    ours, theirs = client_pair()
    container = machine.launch("cat", clients=[(ClientAttach(True, True, True), theirs)]).started()
    assert container.until("exit")["code"] == 0
    assert read_all(ours) == b""


def test_with_stdin_once_a_half_close_ends_the_input_and_output_goes_on(machine):
    ours, theirs = client_pair()
    container = machine.launch(
        "sh", "-c", "cat; sleep 0.1; echo later", open_stdin=True, stdin_once=True,
        clients=[(ClientAttach(True, True, True), theirs)],
    ).started()  # fmt: skip
    data = b"x" * 300_000
    ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    assert frames(read_all(ours)) == {1: data + b"later\n"}
    assert container.until("exit")["code"] == 0


def test_without_stdin_once_a_half_close_is_the_clients_own_end(machine):
    container = machine.launch("sh", "-c", "read a; read b; echo $a $b", open_stdin=True).started()
    first = container.attach(stdin=True)
    first.sendall(b"one\n")
    first.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    second = container.attach(stdin=True)
    second.sendall(b"two\n")
    assert frames(read_all(second)) == {1: b"one two\n"}
    assert frames(read_all(first)) == {1: b"one two\n"}


def test_with_stdin_once_a_client_that_vanishes_ends_the_input(machine):
    ours, theirs = client_pair()
    container = machine.launch(
        "cat", open_stdin=True, stdin_once=True, clients=[(ClientAttach(True, True, True), theirs)]
    ).started()
    ours.close()
    assert container.until("exit")["code"] == 0


def test_input_of_a_client_that_closed_at_once_is_not_lost(machine):
    ours, theirs = client_pair()
    container = machine.launch(
        "sh", "-c", "sleep 0.3; wc -c", open_stdin=True, stdin_once=True,
        clients=[(ClientAttach(True, False, False), theirs)],
    ).started()  # fmt: skip
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ours.sendall(b"y" * 190_000)
    ours.close()
    container.until("exit")
    assert container.log() == b"stdout 190000\nclosed\n"


def test_a_process_that_does_not_read_holds_its_client_back_and_nobody_else(machine):
    container = machine.launch("sh", "-c", "while sleep 0.05; do echo tick; done", open_stdin=True).started()
    writer = container.attach(stdin=True)
    writer.setblocking(False)
    sent = 0
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            sent += writer.send(b"z" * 65536)
        except BlockingIOError:
            time.sleep(0.01)
    assert sent < 2 << 20
    reader = container.attach()
    read_until(reader, b"tick")
    reader.close()
    writer.close()


def test_a_client_that_goes_is_noticed_though_nothing_is_written(machine):
    container = machine.launch("sleep", "100").started()
    client = container.attach()
    shim = container.find_shim()
    time.sleep(0.1)
    before = len(os.listdir(f"/proc/{shim}/fd"))
    client.close()
    eventually(lambda: len(os.listdir(f"/proc/{shim}/fd")) < before)


@pytest.mark.row("R23")
def test_a_stuck_reader_is_dropped_and_the_others_get_everything(machine):
    size = 40 << 20
    container = machine.launch(
        "sh", "-c", f"read x; head -c {size} /dev/zero; exit 5", open_stdin=True
    ).started()
    stuck = container.attach()
    reader = container.attach(stdin=True)
    reader.sendall(b"go\n")
    started = time.monotonic()
    total = 0
    while chunk := reader.recv(1 << 20):
        total += len(chunk)
    assert total > size
    assert time.monotonic() - started < 15
    assert container.until("exit")["code"] == 5
    assert len(read_all(stuck)) < size
    reader.close()


def test_a_slow_reader_that_reads_gets_every_byte(machine):
    size = 24 << 20
    ours, theirs = client_pair()
    container = machine.launch(
        "sh", "-c", f"head -c {size} /dev/zero", log="", clients=[(ClientAttach(False, True, True), theirs)]
    ).started()
    total = 0
    payload = 0
    pending = b""
    while chunk := ours.recv(1 << 20):
        total += len(chunk)
        pending += chunk
        while len(pending) >= 8 and len(pending) >= 8 + int.from_bytes(pending[4:8], "big"):
            length = int.from_bytes(pending[4:8], "big")
            payload += length
            pending = pending[8 + length :]
        time.sleep(0.002)
    assert payload == size
    assert container.until("exit")["code"] == 0
    ours.close()


@pytest.mark.row("R23")
def test_a_client_that_never_reads_does_not_hold_the_exit_back(machine):
    ours, theirs = client_pair()
    container = machine.launch(
        "head", "-c", "2000000", "/dev/zero", clients=[(ClientAttach(False, True, True), theirs)]
    ).started()
    container.control.settimeout(5)
    assert container.until("exit")["code"] == 0
    with container.client() as shim:
        shim.release()
    assert len(read_all(ours)) > 2_000_000  # the shim stays until the client has it


def test_attach_after_the_exit_is_refused_and_the_client_is_left_alone(machine):
    container = machine.launch("true").started()
    container.until("exit")
    ours, theirs = client_pair()
    with container.client() as shim, pytest.raises(Conflict):
        shim.attach(ClientAttach(False, True, True), theirs.fileno())
    theirs.sendall(b"409")
    assert ours.recv(10) == b"409"
    ours.close()
    theirs.close()


@pytest.mark.row("R19")
def test_a_full_log_is_told_once_and_the_container_never_notices(machine):
    container = machine.launch("sh", "-c", "for i in $(seq 200); do echo $i; sleep 0.001; done", log="full")
    container.started()
    ours = container.attach()
    events = []
    while (event := container.event())["event"] != "exit":
        events.append(event)
    assert event["code"] == 0
    errors = [event for event in events if event["event"] == "log-error"]
    assert 1 <= len(errors) <= 2  # at once, and the rest at the end
    assert errors[0]["message"] == "[Errno 28] No space left on device"
    assert sum(error["lost"] for error in errors) > 500
    assert b"200\n" in read_all(ours)


def test_a_log_that_cannot_be_opened_does_not_stop_the_container(machine):
    container = machine.launch("sh", "-c", "echo hello", log_options={"refuse": "1"}).started()
    assert container.event()["event"] == "log-error"
    assert container.event()["code"] == 0


def test_without_a_log_driver_nothing_is_kept(machine):
    container = machine.launch("echo", "hello", log="").started()
    assert container.event()["event"] == "exit"
    assert os.listdir(container.directory / "log") == []


# terminals


def terminal(machine, *args, **fields):
    return machine.launch(*args, terminal=True, open_stdin=True, **fields).started()


def test_a_terminal_is_raw_has_the_size_it_was_started_with_and_can_be_resized(machine):
    ours, theirs = client_pair()
    container = terminal(
        machine, "sh", "-c", "stty size; read x; stty size", console_size=(33, 99),
        clients=[(ClientAttach(True, True, True), theirs)],
    )  # fmt: skip
    read_until(ours, b"33 99\r\n")
    with container.client() as shim:
        shim.resize(40, 120)
    ours.sendall(b"\n")
    assert b"40 120\r\n" in read_all(ours)
    container.until("exit")
    assert b"33 99\r\n" in container.log()
    with container.client() as shim, pytest.raises(Conflict):
        shim.resize(1, 1)


def test_resize_without_a_terminal_is_a_conflict(machine):
    container = machine.launch("sleep", "100").started()
    with container.client() as shim, pytest.raises(Conflict):
        shim.resize(40, 120)
    with container.client() as shim, pytest.raises(InvalidArgument):
        shim.resize(-1, 120)


def test_the_last_output_of_a_terminal_is_not_lost(machine):
    for _ in range(10):
        ours, theirs = client_pair()
        container = machine.launch(
            "sh",
            "-c",
            "seq 3000; echo END",
            terminal=True,
            clients=[(ClientAttach(False, True, True), theirs)],
        ).started()
        assert read_all(ours).endswith(b"3000\r\nEND\r\n")
        container.until("exit")


@pytest.mark.parametrize(("keys", "typed"), [("", b"\x10\x11"), ("ctrl-a,x", b"\x01x"), ("q", b"q")])
def test_the_detach_keys_close_the_client_and_nothing_else(machine, keys, typed):
    container = terminal(machine, "cat")
    client = container.attach(stdin=True, detach_keys=keys)
    client.sendall(b"hello\n")
    read_until(client, b"hello\r\nhello\r\n")
    for key in typed:
        client.sendall(bytes([key]))
    assert read_all(client) in (b"", b"\x01")
    assert container.event() == {"event": "detach"}
    again = container.attach(stdin=True)
    again.sendall(b"still here\n")
    read_until(again, b"still here")
    again.close()


def test_bad_detach_keys_are_refused_in_dockers_words(machine):
    container = terminal(machine, "cat")
    with pytest.raises(InvalidArgument, match=r"invalid detach keys \(ctrl-ctrl\) provided"):
        container.attach(stdin=True, detach_keys="ctrl-ctrl")


def test_a_terminal_everybody_has_closed_does_not_spin_and_can_be_opened_again(machine):
    script = "exec 3>$1; tty=$(tty); exec <&- >&- 2>&-; sleep 0.7; exec >$tty; echo back; sleep 100"
    container = terminal(machine, "bash", "-c", script, "bash", "/dev/null")
    client = container.attach()
    read_until(client, b"back")
    shim = container.find_shim()
    with open(f"/proc/{shim}/stat") as file:
        ticks = sum(int(x) for x in file.read().rpartition(")")[2].split()[11:13])
    assert ticks < 30
    client.close()


# execs

OUTPUT = ClientAttach(False, True, True)


def test_an_exec_runs_beside_init_and_its_end_is_told_before_its_client_is_closed(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec("sh", "-c", "echo out; echo err >&2; exit 3", attach=OUTPUT)
    assert frames(read_all(client)) == {1: b"out\n", 2: b"err\n"}
    assert is_readable(container.control, 0)
    assert container.event() == {"event": "exec-exit", "exec": "e", "code": 3}
    with container.client() as shim:
        state = shim.exec_state("e")
        assert (state["running"], state["code"]) == (False, 3)
        assert shim.hello()["execs"]["e"]["code"] == 3
    assert not (container.directory / "log/log").exists()  # an exec's output is not the container's


def test_an_execs_input_ends_with_its_clients(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec("wc", "-c", attach=ClientAttach(True, True, True))
    client.sendall(b"a" * 500_000)
    client.shutdown(socket.SHUT_WR)
    assert frames(read_all(client)) == {1: b"500000\n"}


def test_an_exec_with_a_terminal_has_its_size_and_is_resized(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec(
        "sh", "-c", "sleep 0.3; stty size; read x; stty size", attach=ClientAttach(True, True, True),
        terminal=True, consoleSize={"height": 20, "width": 70},
    )  # fmt: skip
    read_until(client, b"20 70")
    with container.client() as shim:
        shim.resize(21, 71, "e")
    client.sendall(b"\n")
    assert b"21 71" in read_all(client)


def test_detaching_from_an_exec_names_it(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec("cat", attach=ClientAttach(True, True, True), terminal=True)
    client.sendall(b"\x10\x11")
    read_all(client)
    assert container.event() == {"event": "detach", "exec": "e"}
    with container.client() as shim:
        assert shim.exec_state("e")["running"]


@pytest.mark.parametrize(("runtime", "program"), [("fake", "/no/such"), ("fails-exec", "true")])
def test_an_exec_that_fails_answers_an_error_and_not_a_byte_to_the_client(machine, runtime, program):
    container = machine.launch("sleep", "100", runtime=runtime).started()
    ours, theirs = client_pair()
    with container.client() as shim, pytest.raises(BarqueError) as caught:
        shim.exec("e", {"args": [program]}, OUTPUT, theirs.fileno())
    assert caught.value.exit_code == (127 if runtime == "fake" else 125)
    theirs.sendall(b"the daemon's")
    assert ours.recv(100) == b"the daemon's"
    theirs.close()
    assert ours.recv(100) == b""  # the shim holds no copy
    ours.close()
    shim_pid = container.find_shim()
    before = len(os.listdir(f"/proc/{shim_pid}/fd"))
    with container.client() as shim, pytest.raises(BarqueError):
        shim.exec("e", {"args": [program]}, None, None)
    eventually(lambda: len(os.listdir(f"/proc/{shim_pid}/fd")) <= before)


def test_the_same_exec_id_twice_is_a_conflict(machine):
    container = machine.launch("sleep", "100").started()
    container.exec("sleep", "100")
    with pytest.raises(Conflict):
        container.exec("sleep", "100")


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


@pytest.mark.row("R16")
def test_two_hundred_detached_execs_leave_no_zombie_and_no_descriptor(machine):
    container = machine.launch("sleep", "100").started()
    shim = container.find_shim()
    before = len(os.listdir(f"/proc/{shim}/fd"))
    for number in range(200):
        container.exec("true", id=f"e{number}")
    codes = [container.until("exec-exit")["code"] for _ in range(200)]
    assert codes == [0] * 200
    eventually(lambda: len(children_of(shim)) == 1)
    eventually(lambda: len(os.listdir(f"/proc/{shim}/fd")) <= before)
    with container.client() as client:
        assert len(client.hello()["execs"]) == 200


@pytest.mark.row("R16")
def test_orphans_of_the_container_are_reaped(machine):
    spec = {"process": {"args": ["sh", "-c", "(sleep 0.2 &) ; (sleep 0.2 &); sleep 100"]}, "linux": {}}
    container = machine.launch(spec=spec).started()
    shim = container.find_shim()
    time.sleep(0.5)
    assert children_of(shim) == [str(container.pid)]


def test_an_exec_whose_child_keeps_the_pipe_ends_all_the_same(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec("sh", "-c", "echo hi; (trap '' HUP; sleep 50) & exit 0", attach=OUTPUT)
    started = time.monotonic()
    assert frames(read_all(client)) == {1: b"hi\n"}
    assert time.monotonic() - started < 5


def test_an_exec_that_ends_with_its_container_is_told_as_killed(machine):
    spec = {"process": {"args": ["sleep", "100"]}, "linux": {"namespaces": []}}
    container = machine.launch(spec=spec).started()
    with container.client() as shim:
        pid = shim.exec("e", {"args": ["sleep", "100"]}, None, None)
    os.kill(container.pid, signal.SIGKILL)
    events = {event["event"]: event["code"] for event in (container.event(), container.event())}
    assert events == {"exit": 137, "exec-exit": 137}
    os.kill(pid, signal.SIGKILL)  # the fake runtime knows of no cgroup


@pytest.mark.row("R1")
def test_execs_and_clients_outlive_the_daemon(machine):
    container = machine.launch("sleep", "100").started()
    client = container.exec("cat", attach=ClientAttach(True, True, True))
    container.control.close()
    machine.launcher.close()
    client.sendall(b"still there\n")
    assert frames(read_until(client, b"there\n"))[1] == b"still there\n"
    with container.client() as shim:
        events = shim.events()
    events.settimeout(10)
    client.shutdown(socket.SHUT_WR)
    assert read_event(events) == {"event": "exec-exit", "exec": "e", "code": 0}
    events.close()
    client.close()
