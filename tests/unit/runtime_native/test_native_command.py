"""The command line of barque-runtime: options as runc's, documents, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from barque.spi.errors import InvalidArgument
from barque_runtime_native import command_line
from barque_runtime_native.command_control import signal_number
from barque_runtime_native.command_documents import example
from barque_runtime_native.command_exec import process_of
from barque_runtime_native.command_options import COMMANDS, GLOBAL, SHORT, UsageError, parse
from barque_runtime_native.plan import Plan
from barque_runtime_native.spec import Section, check_version, refuse_unsupported


def test_as_containerd_calls_create():
    words = "--root /r --log /l --log-format json create --bundle /b --pid-file /p --no-pivot id".split()
    options = parse(words, GLOBAL, SHORT[""])
    assert options.values == {"root": "/r", "log": "/l", "log-format": "json"}
    given = parse(options.words[1:], COMMANDS["create"], SHORT["create"])
    assert given.values == {"bundle": "/b", "pid-file": "/p"}
    assert given.flags == {"no-pivot"}
    assert given.words == ["id"]


def test_forms_of_an_option():
    table, short = COMMANDS["exec"], SHORT["exec"]
    assert parse(["--cwd=/x", "c", "ls", "-l"], table, short).words == ["c", "ls", "-l"]
    assert parse(["-cwd", "/x", "c"], table, short).values == {"cwd": "/x"}
    assert parse(["-e", "A=1", "--env", "B=2", "c"], table, short).many == {"env": ["A=1", "B=2"]}
    assert parse(["--tty=false", "-d", "c"], table, short).flags == {"detach"}
    assert parse(["--", "-c"], table, short).words == ["-c"]


@pytest.mark.parametrize("words", [["--nonsense"], ["--bundle"], ["-x"]])
def test_wrong_option(words):
    with pytest.raises(UsageError):
        parse(words, COMMANDS["create"], SHORT["create"])


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+1", 35), ("0", 0)]
)
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "65", "-1", "RTMIN+x"])
def test_unknown_signal(text):
    with pytest.raises(InvalidArgument, match="signal"):
        signal_number(text)


def test_exec_takes_the_containers_process_and_changes_it():
    own = {"args": ["sh"], "env": ["A=1"], "cwd": "/", "user": {"uid": 5, "gid": 6}, "terminal": True}
    given = parse(
        ["-u", "7:8", "-e", "B=2", "--cwd", "/x", "-g", "9", "c", "ls", "-l"], COMMANDS["exec"], SHORT["exec"]
    )
    assert process_of(own, given) == {
        "args": ["ls", "-l"],
        "env": ["A=1", "B=2"],
        "cwd": "/x",
        "terminal": False,
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
    }


@pytest.mark.row("S10")
@pytest.mark.parametrize("user", ["root", "-1", "0x0", "1:x", "٠", ""])
def test_exec_user_must_be_a_number(user):
    given = parse([f"--user={user}", "c", "ls"], COMMANDS["exec"], SHORT["exec"])
    if not user:
        assert process_of({"user": {"uid": 5}}, given)["user"] == {"uid": 5}
        return
    with pytest.raises(InvalidArgument, match="--user"):
        process_of({}, given)


def test_example_can_be_planned(tmp_path):
    (tmp_path / "rootfs").mkdir()
    config = example(terminal=False)
    check_version(Section(config))
    refuse_unsupported(Section(config))
    plan = Plan("id", str(tmp_path), config)
    assert any("mount proc on /proc" in line for line in plan.describe())


def test_features_say_what_is_refused(capsys):
    assert command_line.run(["features"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "poststop" in document["hooks"]
    assert document["linux"]["intelRdt"] == {"enabled": False}
    assert "SCMP_ACT_NOTIFY" not in document["linux"]["seccomp"]["actions"]


@pytest.mark.parametrize(
    "words", [["nonsense"], ["--nonsense", "list"], ["state"], ["start", "a", "b"], ["exec"], ["kill"], []]
)
def test_wrong_command_line_fails(words, capsys, tmp_path):
    assert command_line.run(words) == 1


def test_systemd_cgroup_is_refused_clearly(capsys, tmp_path):
    assert command_line.run(["--systemd-cgroup", "--root", str(tmp_path), "list"]) == 1
    assert "systemd cgroup driver" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["json", "text"])
def test_error_goes_to_the_log(kind, capsys, tmp_path):
    log = tmp_path / "log"
    root = str(tmp_path / "root")
    assert command_line.run(["--root", root, "--log", str(log), "--log-format", kind, "state", "nobody"]) == 1
    text = log.read_text()
    if kind == "json":
        document = json.loads(text)
        assert document["level"] == "error"
        assert "nobody does not exist" in document["msg"]
    else:
        assert 'level=error msg="state: container nobody does not exist' in text


def test_list_of_nothing(capsys, tmp_path):
    assert command_line.run(["--root", str(tmp_path / "none"), "list"]) == 0
    assert capsys.readouterr().out.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert command_line.run(["--root", str(tmp_path / "none"), "list", "-f", "json"]) == 0
    assert capsys.readouterr().out == "null\n"


def test_cold_start_imports_nothing_heavy():
    """What takes milliseconds: argparse, json, re, typing, dataclasses, enum, subprocess, socket."""
    code = (
        "import sys; sys.path[:0] = {paths!r}; from barque_runtime_native import command_create, command_exec;"
        "heavy = sorted({{'argparse', 'json', 're', 'typing', 'dataclasses', 'enum', 'subprocess', 'socket', 'signal',"
        " 'contextlib', 'functools', 'collections', 'inspect', 'ctypes', 'types'}} & set(sys.modules)); print(heavy)"
    )
    import barque
    import barque_runtime_native

    paths = [os.path.dirname(os.path.dirname(module.__file__)) for module in (barque, barque_runtime_native)]
    result = subprocess.run(
        [sys.executable, "-ISE", "-c", code.format(paths=paths)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
