"""The programs that the runtime kit assembles do what their steps say, on this machine and (under qemu) on AArch64."""

from __future__ import annotations

import errno
import platform
import signal
import subprocess

import pytest

from barque.testing import need
from barque.testing.machine_code import MACHINES
from barque.testing.static_init import (
    AT_FDCWD,
    BUFFER,
    RESULT,
    call,
    copy,
    elf,
    exit_with,
    exit_with_error,
    exit_with_result,
    loop,
    pause,
    sleep,
    spawn,
    wait_for_signal,
    write,
)


@pytest.fixture(params=sorted(MACHINES))
def start(request, tmp_path):
    """Start a program of steps; under qemu-user for another machine than this."""
    prefix = []
    if request.param != platform.machine():
        prefix = [need.tool(f"qemu-{request.param}-static")]

    def start(*steps):
        path = tmp_path / "program"
        path.write_bytes(elf(*steps, machine=request.param))
        path.chmod(0o755)
        return subprocess.Popen(
            [*prefix, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


@pytest.fixture
def run(start):
    """Run a program to its end: exit code, output, errors."""

    def run(*steps, stdin=b""):
        process = start(*steps)
        out, err = process.communicate(stdin, timeout=20)
        return process.returncode, out, err

    return run


def test_output_and_exit_code(run):
    assert run(write(1, b"out\n"), write(2, b"err\n"), exit_with(42)) == (42, b"out\n", b"err\n")


def test_program_ends_after_its_last_step(run):
    assert run() == (0, b"", b"")


def test_copy_until_the_end(run):
    text = b"0123456789" * 30_000
    assert run(copy(0, 1), write(1, b"!"), stdin=text) == (0, text + b"!", b"")


def test_result_is_an_argument(run, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    opened = call("openat", AT_FDCWD, f"{tmp_path}/file\0".encode(), 0)
    assert run(opened, copy(RESULT, 1)) == (0, b"content", b"")


def test_errno_is_the_exit_code(run):
    assert run(call("openat", AT_FDCWD, b"/nonexistent\0", 0), exit_with_error())[0] == errno.ENOENT
    assert run(call("getpid"), exit_with_error())[0] == 0


def test_buffer_is_writable(run):
    code, out, _ = run(call("uname", BUFFER), call("write", 1, BUFFER, 5))
    assert (code, out) == (0, b"Linux")


def test_child_and_parent(run):
    child = (write(1, b"child"), exit_with(0))
    assert run(spawn(*child), sleep(0.2), write(1, b" parent"), exit_with(3)) == (3, b"child parent", b"")


def test_signal_is_waited_for(start):
    process = start(wait_for_signal(b"ready"), exit_with_result())
    assert process.stdout.read(5) == b"ready"
    process.send_signal(signal.SIGUSR2)
    process.communicate(timeout=20)
    assert process.returncode == signal.SIGUSR2


@pytest.mark.parametrize("step", [pause(), loop()], ids=["pause", "loop"])
def test_what_never_ends(start, step):
    process = start(step)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_file_is_small_and_static():
    program = elf(pause())
    assert len(program) < 1000
    assert b"ld-linux" not in program


def test_unknown_machine_is_told():
    with pytest.raises(NotImplementedError, match="m68k"):
        elf(pause(), machine="m68k")


def test_wrong_argument_is_told():
    with pytest.raises(TypeError, match="write"):
        elf(call("write", "text"))
