"""Which daemon is talked to, and starting it when nothing listens at the default socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import BARQUE, CORE, environment

from barque.cli.addressing import choose
from barque.cli.errors import CliError, DaemonUnavailable
from barque.cli.host import default_socket, dial


@pytest.mark.parametrize(
    ("flag", "environ", "url"),
    [
        ("unix:///a", {"BARQUE_HOST": "unix:///b", "DOCKER_HOST": "unix:///c"}, "unix:///a"),
        ("", {"BARQUE_HOST": "unix:///b", "DOCKER_HOST": "unix:///c"}, "unix:///b"),
        ("", {"DOCKER_HOST": "unix:///c"}, "unix:///c"),
        ("", {"BARQUE_HOST": "", "DOCKER_HOST": "tcp://127.0.0.1:2375"}, "tcp://127.0.0.1:2375"),
        ("tcp://[::1]:2375/", {}, "tcp://[::1]:2375/"),
        ("tcp://localhost:2375", {}, "tcp://localhost:2375"),
    ],
)
def test_the_first_that_is_set_counts(flag: str, environ: dict[str, str], url: str) -> None:
    assert choose(flag, environ).url == url


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert choose("", {"XDG_RUNTIME_DIR": "/x"}).path == "/run/barque/barque.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_socket({"XDG_RUNTIME_DIR": "/x"}) == "/x/barque/barque.sock"
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/user/1000")
    assert default_socket({}) == "/run/user/1000/barque/barque.sock"
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert default_socket({}) == "/tmp/barque-1000/barque.sock"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://user:secret@host", "plain-text password"),
        ("ssh://-oProxyCommand=x", "unable to parse"),
        ("ssh://-l@host", "unable to parse"),
        ("ssh://user@host?x=y", "unable to parse"),
        ("tcp://127.0.0.1 x:99", "unable to parse"),
        ("tcp://[::1:99", "unable to parse"),
        ("tcp://127.0.0.1:99999", "unable to parse"),
        ("unix://relative", "unable to parse"),
        ("/run/barque.sock", "unable to parse"),
        ("http://127.0.0.1:80", "unable to parse"),
    ],
)
def test_addresses_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(CliError, match=words) as caught:
        choose(url, {})
    assert caught.value.hint


def test_tcp_on_loopback() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with dial(choose(f"tcp://127.0.0.1:{port}", {})) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
    with pytest.raises(DaemonUnavailable, match="Is the barque daemon running"):
        dial(choose(f"tcp://127.0.0.1:{port}", {}))


def test_two_hosts_are_refused(cli: object) -> None:
    done = subprocess.run(
        [*BARQUE, "-H", "unix:///a", "-H", "unix:///b", "ps"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"barque: specify only one -H\n")


def test_a_named_daemon_is_not_started(tmp_path: Path) -> None:
    done = subprocess.run(
        [*BARQUE, "-H", f"unix://{tmp_path}/none.sock", "ps"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    assert f"Cannot connect to the Barque daemon at unix://{tmp_path}/none.sock.".encode() in done.stderr
    assert list(tmp_path.iterdir()) == []


FAKE_BARQUED = f"""#!{sys.executable}
import os, pathlib, sys, time
sys.path[:0] = [{str(Path(__file__).parent)!r}, {CORE!r}]
from cli_fake_daemon import FakeDaemon
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
record = pathlib.Path(os.environ["RECORD"])
with record.open("a") as file:
    file.write(f"{{os.getpid()}} {{os.getsid(0) == os.getpid()}} {{sys.stdin.read()!r}} {{' '.join(sys.argv[1:])}}\\n")
if os.environ.get("FAIL"):
    sys.exit("profile nonsense is not known")
time.sleep(0.3)
path = pathlib.Path(arguments["--host"].removeprefix("unix://"))
path.unlink(missing_ok=True)
daemon = FakeDaemon(path)
daemon.answer("GET /version", {{"Version": "9.9"}})
print("listening", file=sys.stderr, flush=True)
time.sleep(60)
"""


class Home:
    """A place where `barqued` is a script of ours and the default socket is in a directory of the test."""

    def __init__(self, tmp_path: Path) -> None:
        self.record = tmp_path / "record"
        self.record.touch()
        self.run_dir = tmp_path / "run" / "barque"
        program = tmp_path / "bin" / "barqued"
        program.parent.mkdir()
        program.write_text(FAKE_BARQUED)
        program.chmod(0o755)
        # As an ordinary user: the default socket is below XDG_RUNTIME_DIR; argv[0] is beside our barqued.
        self.code = (
            "import os, sys; os.geteuid = lambda: 1000; "
            f"sys.argv[0] = {str(program.parent / 'barque')!r}; sys.executable = '/nonexistent/python'; "
            "from barque.cli.main import main; sys.exit(main())"
        )
        self.environment = environment(XDG_RUNTIME_DIR=str(tmp_path / "run"), RECORD=str(self.record))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-c", self.code, *arguments]

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[bytes]:
        env = {**self.environment, **extra}
        return subprocess.run(self.command(*arguments), capture_output=True, env=env, timeout=30, check=False)

    def started(self) -> list[list[str]]:
        return [line.split(" ", 3) for line in self.record.read_text().splitlines()]

    def end(self) -> None:
        for pid, *_ in self.started():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.end()


VERSION = ("version", "--format", "{{.Server.Version}}")


def test_the_default_daemon_is_started_detached(home: Home) -> None:
    done = home.run("--profile", "runc", *VERSION)
    assert (done.returncode, done.stdout) == (0, b"9.9\n"), done.stderr
    ((_, leads_session, stdin, arguments),) = home.started()
    assert (leads_session, stdin) == ("True", "''")
    socket_path = home.run_dir / "barque.sock"
    assert arguments == f"--run-dir {home.run_dir} --host unix://{socket_path} --profile runc"
    assert (home.run_dir / "barqued.log").read_text() == "listening\n"
    assert (home.run_dir.stat().st_mode & 0o777) == 0o700
    assert home.run(*VERSION).stdout == b"9.9\n"
    assert len(home.started()) == 1


def test_a_stale_socket_is_no_daemon(home: Home) -> None:
    import socket

    home.run_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home.run_dir / "barque.sock"))
    done = home.run(*VERSION, BARQUE_PROFILE="crun")
    assert (done.returncode, done.stdout) == (0, b"9.9\n"), done.stderr
    assert home.started()[0][3].endswith("--profile crun")


def test_two_command_lines_start_one_daemon(home: Home) -> None:
    running = [
        subprocess.Popen(
            home.command(*VERSION), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=home.environment
        )
        for _ in range(5)
    ]
    answers = [process.communicate(timeout=30) for process in running]
    assert [out for out, _ in answers] == [b"9.9\n"] * 5, answers
    assert len(home.started()) == 1


def test_a_daemon_that_fails_says_why(home: Home) -> None:
    home.run_dir.mkdir(parents=True)
    (home.run_dir / "barqued.log").write_text("old line\n")
    began = time.monotonic()
    done = home.run("ps", FAIL="1")
    assert time.monotonic() - began < 5
    assert done.returncode == 1
    assert b"ended with status 1 before it was ready:\n  profile nonsense is not known\n" in done.stderr
    assert b"old line" not in done.stderr
    assert f"Hint: its whole output is in {home.run_dir}/barqued.log".encode() in done.stderr


def test_the_log_is_not_written_through_a_link(home: Home, tmp_path: Path) -> None:
    home.run_dir.mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    (home.run_dir / "barqued.log").symlink_to(tmp_path / "victim")
    done = home.run("ps")
    assert done.returncode == 1
    assert b"barqued.log" in done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "victim").read_text() == "precious"
    assert home.started() == []
