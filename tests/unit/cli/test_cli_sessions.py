"""Attached sessions: `run`, `start -a`, `attach` and `exec` over a hijacked connection, with pipes and with real terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, environment

ID = "5e" * 32


class Container:
    """A container of the fake daemon whose process is a function of the attached stream; its result is the exit code."""

    def __init__(self, daemon: FakeDaemon, process: Callable[[Exchange], int], *, tty: bool = False) -> None:
        self.process = process
        self.tty = tty
        self.code = 0
        self.steps: list[str] = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self.signals: list[str] = []
        self.sizes: list[tuple[str, str]] = []
        daemon.answer("POST /containers/create", {"Id": ID, "Warnings": []}, 201)
        daemon.route(f"POST /containers/{ID}/attach", self.attach)
        daemon.route(f"POST /containers/{ID}/wait", self.wait)
        daemon.route(f"POST /containers/{ID}/start", self.start)
        daemon.route(f"POST /containers/{ID}/kill", self.kill)
        daemon.route(f"POST /(containers|exec)/{ID}/resize", self.resize)
        self.daemon = daemon

    def attach(self, request: Request, answer: Exchange) -> None:
        self.steps.append("attach")
        answer.upgrade(
            "application/vnd.docker.raw-stream" if self.tty else "application/vnd.docker.multiplexed-stream"
        )
        assert self.started.wait(20)
        try:
            self.code = self.process(answer)
            answer.hang_up()
        finally:
            self.ended.set()

    def wait(self, request: Request, answer: Exchange) -> None:
        self.steps.append(f"wait {request.query.get('condition')}")
        answer.begin()
        assert self.ended.wait(20)
        answer.chunk(f'{{"StatusCode": {self.code}}}'.encode())
        answer.end()

    def start(self, _request: Request, answer: Exchange) -> None:
        self.steps.append("start")
        answer.connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.started.set()

    def kill(self, request: Request, answer: Exchange) -> None:
        self.signals.append(request.query["signal"])
        answer.connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def resize(self, request: Request, answer: Exchange) -> None:
        self.sizes.append((request.query["h"], request.query["w"]))
        answer.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_output_goes_to_the_right_descriptor_and_the_code_is_the_containers(
    cli: Any, daemon: FakeDaemon
) -> None:
    def process(stream: Exchange) -> int:
        stream.frame(1, b"out\n")
        stream.frame(2, b"err\n")
        stream.frame(1, b"")
        stream.frame(1, b"\xff\x00more")
        return 42

    container = Container(daemon, process)
    done = cli("run", "img", "sh")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n\xff\x00more", b"err\n")
    assert container.steps == ["attach", "wait next-exit", "start"]
    assert daemon.seen("POST .*/attach")[0].query == {"stream": "1", "stdout": "1", "stderr": "1"}


def test_rm_waits_for_the_removal(cli: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, lambda _stream: 0)
    assert cli("run", "--rm", "img").returncode == 0
    assert container.steps == ["attach", "wait removed", "start"]


def test_frames_split_anywhere(cli: Any, daemon: FakeDaemon) -> None:
    expected = b"".join(b"%06d\n" % number for number in range(400))

    def process(stream: Exchange) -> int:
        raw = b"".join(struct.pack(">BxxxI", 1, 7) + b"%06d\n" % number for number in range(400))
        for start in range(0, len(raw), 3):
            stream.connection.sendall(raw[start : start + 3])
        return 0

    Container(daemon, process)
    assert cli("run", "img").stdout == expected


def test_stdin_is_sent_and_its_end_closes_our_half(cli: Any, daemon: FakeDaemon) -> None:
    sent = os.urandom(3_000_000)

    def process(stream: Exchange) -> int:
        received = stream.receive_all()
        # Our half is closed, theirs is open: the answer still comes.
        stream.frame(1, b"got %d" % len(received))
        return 0 if received == sent else 1

    Container(daemon, process)
    done = cli("run", "-i", "img", stdin=sent)
    assert (done.returncode, done.stdout) == (0, b"got 3000000")


def test_no_deadlock_when_both_directions_are_full(cli: Any, daemon: FakeDaemon) -> None:
    """A `cat`: it stops reading while nobody reads what it wrote."""
    sent = os.urandom(8_000_000)

    def process(stream: Exchange) -> int:
        while piece := stream.receive():
            stream.frame(1, piece)
        return 0

    Container(daemon, process)
    done = cli("run", "-i", "img", stdin=sent)
    assert done.returncode == 0
    assert done.stdout == sent


def test_the_process_may_close_its_stdin(cli: Any, daemon: FakeDaemon) -> None:
    def process(stream: Exchange) -> int:
        stream.connection.shutdown(0)
        stream.frame(1, b"enough")
        return 3

    Container(daemon, process)
    done = cli("run", "-i", "img", stdin=b"x" * 5_000_000)
    assert done.returncode == 3
    assert done.stdout in (b"enough", b"")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nope": executable file not found in $PATH', 127),
        ("exec /x: no such file or directory", 127),
        ('exec: "/etc": permission denied', 126),
        ("exec /etc: is a directory", 126),
        ("no space left on device", 125),
    ],
)
def test_exit_codes_of_a_failed_start(cli: Any, daemon: FakeDaemon, message: str, code: int) -> None:
    container = Container(daemon, lambda _stream: 0)
    container.started.set()
    container.ended.set()
    daemon.refuse(f"POST /containers/{ID}/start", 400, message)
    for flags in ([], ["--rm"], ["-d"]):
        done = cli("run", *flags, "img")
        assert done.returncode == code
        assert done.stderr.decode() == (
            f"barque: Error response from daemon: {message}\n\nRun 'barque run --help' for more information\n"
        )


def test_the_engines_failure_to_wait_is_125(cli: Any, daemon: FakeDaemon) -> None:
    Container(daemon, lambda _stream: 0)
    daemon.answer(f"POST /containers/{ID}/wait", {"StatusCode": 0, "Error": {"Message": "shim is gone"}})
    done = cli("run", "img")
    assert done.returncode == 125
    assert b"shim is gone" in done.stderr


def test_detached_prints_the_id_and_attaches_nothing(cli: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, lambda _stream: 0)
    done = cli("run", "-d", "img")
    assert (done.returncode, done.stdout.decode()) == (0, ID + "\n")
    assert container.steps == ["start"]


def test_cidfile(cli: Any, daemon: FakeDaemon, tmp_path: Any) -> None:
    Container(daemon, lambda _stream: 0)
    assert cli("run", "-d", "--cidfile", str(tmp_path / "cid"), "img").returncode == 0
    assert (tmp_path / "cid").read_text() == ID
    again = cli("run", "-d", "--cidfile", str(tmp_path / "cid"), "img")
    assert again.returncode == 125
    assert b"container ID file found" in again.stderr
    assert len(daemon.seen("POST /containers/create")) == 1


def test_signals_are_passed_on(start_cli: Any, daemon: FakeDaemon) -> None:
    def process(stream: Exchange) -> int:
        stream.frame(1, b"ready")
        _until(lambda: container.signals == ["TERM", "USR1", "HUP"])
        return 7

    container = Container(daemon, process)
    running = start_cli("run", "img")
    assert running.stdout.read(5) == b"ready"
    for index, number in enumerate((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)):
        running.send_signal(number)
        _until(lambda index=index: len(container.signals) == index + 1)
    assert running.wait(10) == 7


def test_the_third_interrupt_ends_the_command(start_cli: Any, daemon: FakeDaemon) -> None:
    release = threading.Event()

    def process(stream: Exchange) -> int:
        stream.frame(1, b"ready")
        release.wait(20)
        return 0

    container = Container(daemon, process)
    running = start_cli("run", "img")
    assert running.stdout.read(5) == b"ready"
    for count in (1, 2):
        running.send_signal(signal.SIGINT)
        _until(lambda count=count: len(container.signals) == count)
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 1
    assert b"forcefully exiting" in running.stderr.read()
    release.set()


def test_without_proxy_a_signal_ends_the_command(start_cli: Any, daemon: FakeDaemon) -> None:
    release = threading.Event()

    def process(stream: Exchange) -> int:
        stream.frame(1, b"ready")
        release.wait(20)
        return 0

    container = Container(daemon, process)
    running = start_cli("run", "--sig-proxy=false", "img")
    assert running.stdout.read(5) == b"ready"
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 143
    assert container.signals == []
    release.set()


def test_the_daemon_dying_is_an_error(cli: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, lambda _stream: 0)
    container.wait = lambda _request, answer: answer.hang_up()  # type: ignore[method-assign]
    daemon.route(f"POST /containers/{ID}/wait", lambda _request, answer: (answer.begin(), answer.hang_up()))
    done = cli("run", "img")
    assert done.returncode == 125
    assert b"EOF" in done.stderr or b"malformed" in done.stderr


def _exec_routes(daemon: FakeDaemon, process: Callable[[Exchange], int]) -> list[Request]:
    codes: list[int] = []
    starts: list[Request] = []

    def start(request: Request, answer: Exchange) -> None:
        starts.append(request)
        if request.document["Detach"]:
            answer.send(200, b"")
            return
        answer.upgrade()
        codes.append(process(answer))
        answer.hang_up()

    def inspected(_request: Request, answer: Exchange) -> None:
        answer.json({"Running": not codes, "ExitCode": codes[0] if codes else None})

    daemon.answer("POST /containers/web/exec", {"Id": ID}, 201)
    daemon.route(f"POST /exec/{ID}/start", start)
    daemon.route(f"GET /exec/{ID}/json", inspected)
    return starts


def test_exec(cli: Any, daemon: FakeDaemon) -> None:
    def process(stream: Exchange) -> int:
        stream.frame(1, b"in: " + stream.receive_all())
        stream.frame(2, b"oops")
        return 9

    _exec_routes(daemon, process)
    done = cli(
        "exec", "-i", "-e", "A=1", "-u", "nobody", "-w", "/tmp", "web", "sh", "-c", "x", stdin=b"hello"
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, b"in: hello", b"oops")
    asked = daemon.seen("POST /containers/web/exec")[0].document
    assert asked["Cmd"] == ["sh", "-c", "x"]
    assert (asked["Env"], asked["User"], asked["WorkingDir"]) == (["A=1"], "nobody", "/tmp")
    assert (asked["AttachStdin"], asked["AttachStdout"], asked["Tty"]) == (True, True, False)


def test_exec_detached(cli: Any, daemon: FakeDaemon) -> None:
    starts = _exec_routes(daemon, lambda _stream: 1)
    done = cli("exec", "-d", "web", "sleep", "1")
    assert (done.returncode, done.stdout) == (0, b"")
    assert starts[0].document["Detach"] is True


def test_exec_of_what_cannot_start(cli: Any, daemon: FakeDaemon) -> None:
    daemon.answer("POST /containers/web/exec", {"Id": ID}, 201)
    daemon.refuse(f"POST /exec/{ID}/start", 400, 'exec: "nope": executable file not found in $PATH')
    assert cli("exec", "web", "nope").returncode == 127
    daemon.refuse("POST /containers/web/exec", 409, "container web is not running")
    done = cli("exec", "web", "ls")
    assert (done.returncode, done.stderr) == (
        1,
        b"Error response from daemon: container web is not running\n",
    )


def test_start_attached_and_attach(cli: Any, daemon: FakeDaemon) -> None:
    def process(stream: Exchange) -> int:
        stream.frame(1, b"hi\n")
        return 4

    container = Container(daemon, process)
    state = {"Running": True}
    daemon.answer(
        "GET /containers/web/json", {"Id": ID, "Config": {"Tty": False, "OpenStdin": False}, "State": state}
    )
    done = cli("start", "-a", "web")
    assert (done.returncode, done.stdout) == (4, b"hi\n")
    assert container.steps == ["attach", "wait next-exit", "start"]
    done = cli("attach", "web")
    assert (done.returncode, done.stdout) == (4, b"hi\n")
    daemon.answer("GET /containers/web/json", {"Id": ID, "Config": {}, "State": {"Running": False}})
    done = cli("attach", "web")
    assert (done.returncode, done.stderr) == (
        1,
        b"You cannot attach to a stopped container, start it first\n",
    )


# With a terminal


class Terminal:
    """`barque` on a pty of its own."""

    def __init__(self, daemon: FakeDaemon, *arguments: str, rows: int = 40, columns: int = 100) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [*BARQUE, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(BARQUE_HOST=daemon.url),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read_until(self, what: bytes) -> bytes:
        seen = b""
        while what not in seen:
            ready, _, _ = select.select([self.master], [], [], 10)
            assert ready, seen
            seen += os.read(self.master, 65536)
        return seen

    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(daemon: FakeDaemon) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, **options: int) -> Terminal:
        opened.append(Terminal(daemon, *arguments, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def _echo(stream: Exchange) -> int:
    """A process that shows what it is sent, until `q`."""
    stream.connection.sendall(b"ready\r\n")
    while b"q" not in (typed := stream.receive()):
        stream.connection.sendall(typed.hex().encode() + b"\r\n")
        if not typed:
            return 99
    return 5


def test_a_terminal_is_raw_sized_and_restored(terminal: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, _echo, tty=True)
    session = terminal("run", "-it", "img", rows=33, columns=77)
    session.read_until(b"ready\r\n")
    assert daemon.seen("POST /containers/create")[0].document["HostConfig"]["ConsoleSize"] == [33, 77]
    _until(lambda: container.sizes == [("33", "77")])
    session.type(b"\x03")
    assert session.read_until(b"\n") == b"03\r\n"  # no echo, no signal: the byte itself
    session.resize(20, 50)
    _until(lambda: container.sizes[-1] == ("20", "50"))
    session.type(b"q")
    assert session.process.wait(10) == 5
    assert session.restored()


def test_detach_keys(terminal: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, _echo, tty=True)
    session = terminal("run", "-it", "img")
    session.read_until(b"ready\r\n")
    session.type(b"\x10x")
    assert session.read_until(b"\n") == b"1078\r\n"  # a sequence broken off goes to the container
    session.type(b"\x10\x11")
    assert session.process.wait(10) == 0
    assert session.restored()
    assert container.signals == []


def test_own_detach_keys_are_told_to_the_daemon_too(terminal: Any, daemon: FakeDaemon) -> None:
    Container(daemon, _echo, tty=True)
    session = terminal("run", "-it", "--detach-keys", "ctrl-a,d", "img")
    session.read_until(b"ready\r\n")
    session.type(b"\x01d")
    assert session.process.wait(10) == 0
    assert daemon.seen("POST .*/attach")[0].query["detachKeys"] == "ctrl-a,d"


def test_the_terminal_is_restored_when_a_signal_ends_the_command(terminal: Any, daemon: FakeDaemon) -> None:
    Container(daemon, _echo, tty=True)
    session = terminal("run", "-it", "--sig-proxy=false", "img")
    session.read_until(b"ready\r\n")
    _until(lambda: not session.restored())
    session.process.send_signal(signal.SIGTERM)
    assert session.process.wait(10) == 143
    assert session.restored()


def test_attach_makes_the_program_redraw_and_detaches_with_an_error(
    terminal: Any, daemon: FakeDaemon
) -> None:
    container = Container(daemon, _echo, tty=True)
    container.started.set()
    daemon.answer(
        "GET /containers/web/json",
        {"Id": ID, "Config": {"Tty": True, "OpenStdin": True}, "State": {"Running": True}},
    )
    session = terminal("attach", "web", rows=40, columns=100)
    session.read_until(b"ready\r\n")
    _until(lambda: container.sizes == [("41", "101"), ("40", "100")])
    session.type(b"\x10\x11")
    assert b"read escape sequence" in session.read_until(b"sequence")
    assert session.process.wait(10) == 1


def test_exec_with_a_terminal(terminal: Any, daemon: FakeDaemon) -> None:
    container = Container(daemon, _echo, tty=True)
    starts = _exec_routes(daemon, _echo)
    session = terminal("exec", "-it", "web", "sh", rows=30, columns=90)
    session.read_until(b"ready\r\n")
    assert starts[0].document["ConsoleSize"] == [30, 90]
    _until(lambda: container.sizes == [("30", "90")])
    session.type(b"q")
    assert session.process.wait(10) == 5
    assert session.restored()


def test_a_pipe_is_no_terminal(cli: Any, daemon: FakeDaemon) -> None:
    done = cli("run", "-it", "img")
    assert done.returncode == 1
    assert b"the input device is not a TTY" in done.stderr
    assert not daemon.requests
