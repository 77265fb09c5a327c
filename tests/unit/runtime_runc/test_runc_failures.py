"""What runc and crun say (recorded from runc 1.1.5 and crun 1.8.1), as errors of the contract."""

from __future__ import annotations

import json

import pytest

from barque.spi import errors
from barque_runtime_runc.failures import failure

START = "unable to start container process: "
RUNC = "runc create failed: " + START


def said(*messages, level="error", verb="create", program="foo", output=b""):
    log = "\n".join(json.dumps({"level": level, "msg": message}) for message in messages).encode()
    return failure(log, output, 1, verb, "c1", program)


@pytest.mark.parametrize(
    ("message", "program", "code", "text"),
    [
        (
            f'{RUNC}exec: "foo": executable file not found in $PATH',
            "foo",
            127,
            'exec: "foo": executable file not found in $PATH',
        ),
        (
            f'{RUNC}exec: "/bin/x": stat /bin/x: no such file or directory',
            "/bin/x",
            127,
            'exec: "/bin/x": stat /bin/x: no such file or directory',
        ),
        (f'{RUNC}exec: "/etc": permission denied', "/etc", 126, 'exec: "/etc": permission denied'),
        (f'{RUNC}exec: "a: b": permission denied', "a: b", 126, 'exec: "a: b": permission denied'),
        (
            "executable file `foo` not found in $PATH: No such file or directory",
            "foo",
            127,
            'exec: "foo": executable file not found in $PATH',
        ),
        (
            "executable file `/bin/x` not found in $PATH: No such file or directory",
            "/bin/x",
            127,
            'exec: "/bin/x": stat /bin/x: no such file or directory',
        ),
        ("open executable: Permission denied", "/x", 126, 'exec: "/x": permission denied'),
        ("open executable: Operation not permitted", "/bin", 126, 'exec: "/bin": permission denied'),
        ("exec: Exec format error", "/x", 126, 'exec: "/x": exec format error'),
    ],
)
def test_program_errors_are_dockers(message, program, code, text):
    error = said(message, program=program)
    assert type(error) is (errors.NotFound if code == 127 else errors.PermissionDenied)
    assert error.message == START + text
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("message", "verb", "kind"),
    [
        ("container does not exist", "state", errors.NotFound),
        ("error opening file `/run/x/status`: No such file or directory", "state", errors.NotFound),
        ("container with id exists: c1", "create", errors.AlreadyExists),
        ("container `c1` already exists", "create", errors.AlreadyExists),
        ("container not running", "kill", errors.NotFound),
        ("open pidfd: No such process", "kill", errors.NotFound),
        ("the container `c1` is not running", "exec", errors.Conflict),
        ("exec failed: cannot exec in a stopped container", "exec", errors.Conflict),
        ("cannot start an already running container", "start", errors.Conflict),
        ("cannot start a container that has stopped", "start", errors.Conflict),
        ("cannot open `/run/x/exec.fifo`: No such file or directory", "start", errors.Conflict),
        ("the container `c1` is not in `created` or `stopped` state", "delete", errors.Conflict),
        ("container init still running", "delete", errors.Unavailable),
        ("mkdir /sys/fs/cgroup/pids/x: no space left on device", "create", errors.ResourceExhausted),
        ("fork/exec /proc/self/exe: resource temporarily unavailable", "create", errors.ResourceExhausted),
        (
            f'{RUNC}error mounting "/x" to rootfs at "/y": stat /x: no such file or directory',
            "create",
            errors.InvalidArgument,
        ),
        ("something nobody has seen before", "create", errors.Internal),
    ],
)
def test_kinds(message, verb, kind):
    assert type(said(message, verb=verb)) is kind


@pytest.mark.parametrize(
    "message",
    [
        f"{RUNC}error setting rlimits for ready process: error setting rlimit type 7: operation not permitted",
        "setrlimit `RLIMIT_NOFILE`: Operation not permitted",
        "write to /proc/self/oom_score_adj: Permission denied",
    ],
)
def test_missing_cap_sys_resource_is_told(message):
    error = said(message)
    assert type(error) is errors.PermissionDenied
    assert "CAP_SYS_RESOURCE" in error.hint
    assert message in error.message


def test_cause_in_an_earlier_line_is_kept():
    log = b"\n".join(
        (
            b'{"level":"warning","msg":"never mind"}',
            b"no json",
            b"[1]",
            b'{"level":"fatal","msg":"nsexec[1]: failed to update /proc/self/oom_score_adj: Permission denied"}',
            b'{"level":"error","msg":"can\'t get final child\'s PID from pipe: EOF"}',
        )
    )
    error = failure(log, b"", 1, "create", "c1", "true")
    assert type(error) is errors.PermissionDenied
    assert "oom_score_adj" in error.message
    assert "PID from pipe" in error.message
    assert "never mind" not in error.message


def test_without_log_the_output_counts():
    assert (
        "flag provided but not defined"
        in failure(b"", b"flag provided but not defined\n", 1, "state", "c1", "").message
    )


def test_without_anything_the_way_it_ended():
    assert "signal 9" in failure(b"", b"", 137, "create", "c1", "").message
    assert "exit code 3" in failure(b"", b"", 3, "create", "c1", "").message


@pytest.mark.parametrize("log", [b"\xff" * 100, b"[" * 100_000, b'{"level":"error","msg":{"a":1}}'])
def test_garbage_in_the_log(log):
    assert isinstance(failure(log, b"", 1, "create", "c1", ""), errors.BarqueError)
