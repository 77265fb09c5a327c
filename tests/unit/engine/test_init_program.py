"""The init of `--init`, executed on this host: what it reaps, forwards and answers."""

import os
import platform
import signal
import subprocess
import time
from pathlib import Path

import pytest

from barque.engine.init import InitProgram
from barque.engine.init_program import program

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code for x86-64")


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return InitProgram(tmp_path_factory.mktemp("init")).path()


def run(init, *words, **options):
    return subprocess.run([init, "--", *words], capture_output=True, text=True, timeout=20, **options)


@pytest.mark.parametrize(
    ("words", "code"),
    [(("sh", "-c", "exit 7"), 7), (("/bin/sh", "-c", "exit 0"), 0), (("sh", "-c", "kill -9 $$"), 137), (("nosuch",), 127),
     (("/no/such",), 127), (("/etc/passwd",), 126)],
)  # fmt: skip
def test_it_ends_as_its_child(init, words, code):
    assert run(init, *words).returncode == code


def test_arguments_and_environment_arrive(init):
    done = run(
        init, "sh", "-c", 'echo "$0 $1 $A"', "zero", "one two", env={"A": "b", "PATH": "/bin:/usr/bin"}
    )
    assert done.stdout == "zero one two b\n"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nosuch:/bin", 0),
        ("/nosuch::/bin", 0),
        ("/etc/passwd:/bin", 0),
        ("/nosuch", 127),
        ("", 127),
        (None, 0),
    ],
)
def test_the_program_is_looked_up_in_path(init, path, code, tmp_path):
    environment = {} if path is None else {"X": "1", "PATHS": "/", "PATH": path}
    assert run(init, "true", env=environment, cwd=tmp_path).returncode == code


def test_what_cannot_be_executed_is_not_what_is_not_there(init, tmp_path):
    (tmp_path / "tool").write_text("no program\n")
    done = run(init, "tool", env={"PATH": f"/nosuch:{tmp_path}"})
    assert done.returncode == 126
    assert done.stderr == "docker-init: cannot execute tool\n"


def test_long_names_and_paths_end_in_an_error(init):
    assert run(init, "x" * 100_000, env={"PATH": "/bin"}).returncode in (126, 127)
    assert run(init, "x", env={"PATH": "/" + "y" * 100_000}).returncode in (126, 127)


def test_signals_go_to_the_child_with_the_mask_it_should_have(init):
    script = "trap 'echo hup; exit 5' HUP; echo up; while :; do sleep 0.02; done"
    process = subprocess.Popen([init, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10)[0] == "hup\n"
    assert process.returncode == 5
    blocked = run(init, "grep", "SigBlk", "/proc/self/status").stdout
    assert int(blocked.split()[1], 16) == 0


def test_orphans_are_reaped_whose_children_they_ever_were(init):
    script = "for i in 1 2 3 4 5; do (sleep 0.05 & ); done; echo up; exec sleep 1000"
    process = subprocess.Popen([init, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 5
        while len(children.read_text().split()) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.terminate()
        assert process.wait(10) == 143
        process.stdout.close()


def test_the_file_is_made_once_and_mended(tmp_path):
    path = InitProgram(tmp_path / "i").path()
    assert os.stat(path).st_mode & 0o7777 == 0o555
    first = os.stat(path).st_ino
    assert InitProgram(tmp_path / "i").path() == path
    assert os.stat(path).st_ino == first
    os.chmod(path, 0o755)
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"\xcc")
    assert InitProgram(tmp_path / "i").path() == path
    with open(path, "rb") as file:
        assert file.read() == program()
    assert os.stat(path).st_mode & 0o7777 == 0o555
