"""Pulling, the engine's own commands, help, and what failures look like."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, environment
from hypothesis import given
from hypothesis import strategies as st

from barque.cli import tree
from barque.cli.gotemplate import Template, TemplateError

PULL = [
    {"status": "Pulling from library/alpine", "id": "3"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {
        "status": "Downloading",
        "progressDetail": {"current": 10, "total": 100},
        "progress": "[=> ]",
        "id": "aaaaaaaaaaaa",
    },
    {"status": "Verifying Checksum", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Digest: sha256:" + "d" * 64},
    {"status": "Status: Downloaded newer image for alpine:3"},
]


def _pulls(daemon: FakeDaemon, messages: list[dict[str, Any]]) -> None:
    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin()
        for message in messages:
            answer.chunk(json.dumps(message).encode() + b"\r\n")
        answer.end()

    daemon.route("POST /images/create", stream)


@pytest.mark.parametrize(
    "arguments",
    [["alpine:3"], ["-q", "alpine:3"], ["alpine"], ["--platform", "linux/arm64", "a/b@sha256:" + "d" * 64]],
    ids=str,
)
def test_pull_prints_what_docker_prints(
    cli: Any, docker: Any, daemon: FakeDaemon, arguments: list[str]
) -> None:
    _pulls(daemon, PULL)
    theirs, ours = docker("pull", *arguments), cli("pull", *arguments)
    assert (ours.returncode, ours.stdout.decode()) == (theirs.returncode, theirs.stdout.decode())
    real, mine = daemon.seen("POST /images/create")
    assert mine.query == real.query


def test_other_sources_are_sent_whole(cli: Any, daemon: FakeDaemon) -> None:
    _pulls(daemon, [{"status": "Reading package lists"}])
    done = cli("pull", "deb:bash,coreutils@bookworm")
    assert done.stdout == b"Reading package lists\ndeb:bash,coreutils@bookworm\n"
    assert daemon.seen("POST /images/create")[0].query == {"fromImage": "deb:bash,coreutils@bookworm"}


def test_a_failed_pull(cli: Any, docker: Any, daemon: FakeDaemon) -> None:
    _pulls(daemon, [PULL[0], {"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"}])
    theirs, ours = docker("pull", "alpine:3"), cli("pull", "alpine:3")
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    daemon.refuse("POST /images/create", 404, "pull access denied", hint="log in first")
    done = cli("pull", "alpine:3")
    assert (done.returncode, done.stderr) == (
        1,
        b"Error response from daemon: pull access denied\nHint: log in first\n",
    )


def test_credentials_go_with_the_pull(cli: Any, daemon: FakeDaemon, tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"reg.example.com": {"auth": "bWU6c2VjcmV0"}}})
    )
    _pulls(daemon, [])
    assert cli("pull", "-q", "reg.example.com/a", DOCKER_CONFIG=str(tmp_path)).returncode == 0
    assert cli("pull", "-q", "other.example.com/a", DOCKER_CONFIG=str(tmp_path)).returncode == 0
    with_auth, without = daemon.seen("POST /images/create")
    assert "x-registry-auth" in with_auth.headers
    assert "x-registry-auth" not in without.headers


def _creates_after_a_pull(daemon: FakeDaemon) -> None:
    def create(_request: Request, answer: Exchange) -> None:
        if daemon.seen("POST /images/create"):
            answer.json({"Id": "c" * 64, "Warnings": ["no swap limit"]}, 201)
        else:
            answer.error(404, "No such image: alpine:3")

    daemon.route("POST /containers/create", create)
    daemon.no_content("POST /containers/.*/start")
    _pulls(daemon, PULL)


def test_run_pulls_what_is_missing(cli: Any, daemon: FakeDaemon) -> None:
    _creates_after_a_pull(daemon)
    done = cli("run", "-d", "--platform", "linux/amd64", "alpine:3")
    assert (done.returncode, done.stdout) == (0, b"c" * 64 + b"\n")
    assert done.stderr.startswith(
        b"Unable to find image 'alpine:3' locally\n3: Pulling from library/alpine\n"
    )
    assert done.stderr.endswith(b"Status: Downloaded newer image for alpine:3\nWARNING: no swap limit\n")
    assert daemon.seen("POST /images/create")[0].query["platform"] == "linux/amd64"


def test_run_quietly(cli: Any, daemon: FakeDaemon) -> None:
    _creates_after_a_pull(daemon)
    assert cli("run", "-qd", "alpine:3").stderr == b"WARNING: no swap limit\n"


def test_pull_policies(cli: Any, daemon: FakeDaemon) -> None:
    _creates_after_a_pull(daemon)
    done = cli("run", "-d", "--pull", "never", "alpine:3")
    assert (done.returncode, daemon.seen("POST /images/create")) == (125, [])
    assert cli("run", "-d", "--pull", "always", "alpine:3").returncode == 0
    assert [repr(request) for request in daemon.requests][-3:-1] == [
        "POST /images/create",
        "POST /containers/create",
    ]
    assert cli("run", "--pull", "sometimes", "alpine:3").returncode == 125


def test_only_a_missing_image_is_pulled(cli: Any, daemon: FakeDaemon) -> None:
    daemon.refuse("POST /containers/create", 404, "network front not found")
    assert cli("run", "alpine:3").returncode == 125
    assert not daemon.seen("POST /images/create")


def test_progress_bars_on_a_terminal(daemon: FakeDaemon) -> None:
    import pty

    _pulls(daemon, PULL)
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [*BARQUE, "pull", "alpine:3"],
            stdout=slave,
            stderr=subprocess.PIPE,
            env=environment(BARQUE_HOST=daemon.url, TERM="xterm", COLUMNS="100"),
            check=False,
        )
        shown = os.read(master, 65536).decode()
    finally:
        os.close(master)
        os.close(slave)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "aaaaaaaaaaaa: Pull complete" in shown
    assert "Status: Downloaded newer image" in shown
    assert shown.endswith("docker.io/library/alpine:3\r\n")


def test_names_are_worked_on_at_the_same_time(cli: Any, daemon: FakeDaemon) -> None:
    import threading

    meeting = threading.Barrier(3, timeout=10)

    def stop(request: Request, answer: Exchange) -> None:
        meeting.wait()
        answer.connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    daemon.route("POST /containers/.*/stop", stop)
    done = cli("stop", "-t", "0", "-s", "INT", "a", "b", "c")
    assert (done.returncode, done.stdout) == (0, b"a\nb\nc\n")
    assert all(request.query == {"t": "0", "signal": "INT"} for request in daemon.requests)


def test_lifecycle_commands(cli: Any, daemon: FakeDaemon) -> None:
    daemon.no_content("POST /containers/a/(start|restart|kill)")
    daemon.refuse("POST /containers/b/.*", 404, "No such container: b")
    daemon.answer("POST /containers/a/wait", {"StatusCode": 3})
    assert cli("kill", "a").stdout == b"a\n"
    assert daemon.requests[-1].query == {"signal": "KILL"}
    assert cli("restart", "a").stdout == b"a\n"
    assert cli("wait", "a").stdout == b"3\n"
    done = cli("start", "a", "b")
    assert (done.returncode, done.stdout) == (1, b"a\n")
    assert (
        done.stderr
        == b"Error response from daemon: No such container: b\nError: failed to start containers: b\n"
    )


def test_tag(cli: Any, daemon: FakeDaemon) -> None:
    daemon.answer("POST /images/a/b:1/tag", {}, 201)
    assert cli("tag", "a/b:1", "reg.example.com:5000/x").returncode == 0
    assert daemon.requests[0].query == {"repo": "reg.example.com:5000/x", "tag": "latest"}
    assert b"must be lowercase" in cli("tag", "a", "B").stderr


def test_what_the_daemon_does_not_do_is_its_message(cli: Any, daemon: FakeDaemon) -> None:
    daemon.refuse("GET /events", 501, "not implemented")
    done = cli("events")
    assert (done.returncode, done.stderr) == (1, b"Error response from daemon: not implemented\n")


def test_version_and_info(cli: Any, daemon: FakeDaemon) -> None:
    engine = {
        "Name": "Engine",
        "Version": "1.2",
        "Details": {"ApiVersion": "1.50", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"},
    }
    daemon.answer("GET /version", {"Platform": {"Name": "Barque"}, "Version": "1.2", "Components": [engine]})
    shown = cli("version").stdout.decode()
    assert "Client: Barque\n Version:           " in shown
    assert (
        "\nServer: Barque\n Engine:\n  Version:         1.2\n  API version:     1.50 (minimum version 1.24)\n"
        in shown
    )
    daemon.answer(
        "GET /info",
        {
            "Containers": 3,
            "ContainersRunning": 1,
            "MemTotal": 25330000000,
            "Warnings": ["WARNING: x"],
            "Driver": "overlay",
        },
    )
    done = cli("info")
    assert " Containers: 3\n  Running: 1\n" in done.stdout.decode()
    assert " Total Memory: 23.59GiB\n" in done.stdout.decode()
    assert done.stderr == b"WARNING: x\n"


def test_version_without_a_daemon_shows_the_clients(tmp_path: Any) -> None:
    done = subprocess.run(
        [*BARQUE, "-H", f"unix://{tmp_path}/none", "version"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith(b"Client: Barque\n")
    assert b"Server" not in done.stdout
    assert b"Cannot connect to the Barque daemon" in done.stderr


def test_short_version() -> None:
    from barque import __version__

    done = subprocess.run([*BARQUE, "--version"], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stdout.decode()) == (0, f"Barque version {__version__}\n")


def test_a_reader_that_leaves_is_no_traceback(start_cli: Any, daemon: FakeDaemon) -> None:
    row = {"Id": "x" * 64, "Names": ["/n"], "Created": 0, "Image": "i", "Command": "c" * 50}
    daemon.answer("GET /containers/json", [row] * 5000)
    running = start_cli("ps", "--no-trunc")
    running.stdout.close()
    assert running.wait(20) == 141
    assert running.stderr.read() == b""


def test_interrupt_is_130(start_cli: Any, daemon: FakeDaemon) -> None:
    import signal

    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin("application/vnd.docker.multiplexed-stream")
        answer.chunk(b"\x01\0\0\0\0\0\0\x05ready")
        answer.receive()

    daemon.route("GET /containers/web/logs", stream)
    running = start_cli("logs", "-f", "web")
    assert running.stdout.read(5) == b"ready"
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    assert running.stderr.read() == b""


# The engine's own commands, by modules that stand in for barque.plugins and barque.profiles

STAND_IN = """
import json, sys
from barque_fake_answers import ANSWERS
answer, code = ANSWERS[" ".join(sys.argv[1:])]
print(json.dumps(answer))
sys.exit(code)
"""
PLUGIN = {"kind": "storage", "name": "overlay", "distribution": "barque", "version": "0.1", "module": "m", "usable": False,
          "problems": [{"what": "no overlayfs", "remedy": "modprobe overlay", "fatal": True}]}  # fmt: skip
SHOWN = {
    **PLUGIN,
    "config": [{"field": "workers", "type": "int", "default": 0, "doc": "how many"}],
    "capabilities": ["quota"],
    "hooks": ["storage_probe"],
}
PROFILE = {"name": "default", "path": "/p/default.toml", "description": "the usual", "active": True}
PASSED = {
    "driver": "image:deb",
    "facts": {},
    "outcomes": [{"test": "test_one[[/]x]", "result": "passed", "reason": "", "seconds": 0.1}],
}
FAILED = {
    "driver": "runtime:runc",
    "facts": {"version": "crun version 9"},
    "outcomes": [
        *PASSED["outcomes"],
        {"test": "test_two", "result": "skipped", "reason": "no such\nthing", "seconds": 0.1},
        {"test": "test_three", "result": "failed", "reason": "assert 1 == 2", "seconds": 0.1},
    ],
}
ERROR = {"error": {"class": "NotFound", "message": "no profile 'x'", "hint": "see `barque profile ls`"}}
ANSWERS = {
    "ls --json": ([PLUGIN], 0),
    "show storage:overlay --json": (SHOWN, 0),
    "show default --json": (
        {"name": "default", "path": "/p/default.toml", "document": {"a": 1}, "toml": "a = 1\n"},
        0,
    ),
    "show x --json": (ERROR, 1),
    "run runtime:runc --set path=crun --set timeout=9 --json": (FAILED, 1),
    "run runtime:crun --profile default --json": (FAILED, 1),
    "run image:deb --reference b --json": (PASSED, 0),
    "run runtime:x --json": (ERROR, 2),
    "validate /dev/null --json": (
        {"ok": False, "problems": [{"field": "runtime.default", "message": "unknown"}, "more"]},
        1,
    ),
    "validate /dev/zero --json": ({"ok": True, "problems": []}, 0),
}


@pytest.fixture
def engine(tmp_path: Any) -> Any:
    """Run `barque` with a `python` whose `-P -m barque.plugins` gives the answers above."""
    (tmp_path / "barque_fake_answers.py").write_text(f"ANSWERS = {ANSWERS!r}")
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntest "$1 $2" = "-P -m" || exit 9\necho "$3" > {tmp_path}/module\nshift 3\n'
                      f'PYTHONPATH={tmp_path} exec {sys.executable} {tmp_path}/stand_in.py "$@"\n')  # fmt: skip
    python.chmod(0o755)
    code = f"import sys; sys.executable = {str(python)!r}; from barque.cli.main import main; sys.exit(main())"

    def run(*arguments: str) -> tuple[int, str, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        module = tmp_path / "module"
        return (
            done.returncode,
            done.stdout,
            done.stderr,
            module.read_text().strip() if module.exists() else "",
        )

    return run


def test_plugin_commands(engine: Any) -> None:
    code, shown, _, module = engine("plugin", "ls")
    assert (code, module) == (0, "barque.plugins")
    assert shown.splitlines()[1].split() == ["storage", "overlay", "no", "barque", "0.1", "no", "overlayfs"]
    code, shown, _, _ = engine("plugin", "show", "storage:overlay")
    assert "  Capabilities:  quota\n  Hooks:         storage_probe\n" in shown
    assert "  Problem: no overlayfs\n  Remedy: modprobe overlay\n" in shown
    assert re.search(r"SETTING +TYPE +DEFAULT +MEANING\n  workers +int +0 +how many\n", shown)


def test_plugin_verify(engine: Any) -> None:
    code, shown, _, module = engine(
        "plugin", "verify", "--set", "path=crun", "--set", "timeout=9", "runtime:runc"
    )
    assert (code, module) == (1, "barque.testing.verify")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["Test", "Result", "Reason"]
    assert lines[1] == ["test_one[[/]x]", "passed"]
    assert lines[2] == ["test_two", "skipped", "no", "such", "thing"]
    assert lines[3] == ["test_three", "failed", "assert", "1", "==", "2"]
    assert shown.splitlines()[-1] == "runtime:runc (crun version 9): 1 passed, 1 skipped, 1 failed"
    quietly = engine("plugin", "verify", "-q", "--profile", "default", "runtime:crun")
    assert quietly[:2] == (1, "test_three\n")
    code, shown, _, _ = engine("plugin", "verify", "--format", "json", "--reference", "b", "image:deb")
    assert (code, json.loads(shown)) == (0, PASSED)
    assert engine("plugin", "verify", "runtime:x")[:3] == (
        1,
        "",
        "no profile 'x'\nHint: see `barque profile ls`\n",
    )


def test_profile_commands(engine: Any) -> None:
    code, shown, _, module = engine("profile", "show", "default")
    assert (code, shown, module) == (0, "# /p/default.toml\na = 1\n", "barque.profiles")
    assert json.loads(engine("profile", "show", "--format", "json", "default")[1]) == {"a": 1}
    assert engine("profile", "show", "x")[:3] == (1, "", "no profile 'x'\nHint: see `barque profile ls`\n")
    assert engine("profile", "validate", "/dev/zero")[:2] == (0, "/dev/zero: valid\n")
    assert engine("profile", "validate", "/dev/null")[:3] == (
        1,
        "",
        "/dev/null: runtime.default: unknown\n/dev/null: more\n",
    )
    assert (
        engine("profile", "validate", "/nonexistent")[2] == "open /nonexistent: no such file or directory\n"
    )


# Help


def barque(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    env = environment(COLUMNS="200", **extra)
    return subprocess.run([*BARQUE, *arguments], capture_output=True, text=True, env=env, check=False)


def test_help_names_every_command_and_group() -> None:
    shown = barque("--help")
    assert shown.returncode == 0
    for path in [*tree.paths(), *tree.GROUPS]:
        assert re.search(rf"(?m)^\W*{path} ", shown.stdout), path
    assert shown.stdout == barque().stdout == barque("help").stdout


@pytest.mark.parametrize(
    "path", ["run", "exec", "ps", "container ls", "image pull", "plugin show", "network inspect"]
)
def test_help_of_a_command_has_its_flags_and_examples(path: str) -> None:
    shown = barque(*path.split(), "--help")
    declared = tree.load(path)
    assert shown.returncode == 0, shown.stderr
    assert f"Usage: barque {path} {declared.usage}" in shown.stdout
    for option in declared.options:
        assert f"--{option.name}" in shown.stdout
        assert option.help.split("\n")[0][:30] in shown.stdout
    for example in declared.examples:
        assert example in shown.stdout


def test_help_of_a_group_and_of_nothing() -> None:
    for words in (["container"], ["container", "--help"], ["help", "container"]):
        shown = barque(*words)
        assert shown.returncode == 0
        assert "Manage containers" in shown.stdout
        assert "inspect" in shown.stdout
    assert barque("help", "nonsense").returncode == 1


def test_unknown_commands_get_a_suggestion() -> None:
    done = barque("verison")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "barque: unknown command: barque verison\n\nDid you mean `barque version`?\n"
    )


# Templates


@given(st.text(alphabet="{}.$\"`|()=:, -/*aifrndgejo\\\n'01x", max_size=60))
def test_any_template_renders_or_is_refused(source: str) -> None:
    with contextlib.suppress(TemplateError):
        assert isinstance(Template(source).render({"a": {"i": [1, "x"]}, "n": None}), str)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{if .a}}x", "has no {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{.a", "unclosed action"),
        ('{{"a}}', "unterminated quoted string"),
        ("{{/* a", "unclosed comment"),
        ("{{nonsense .a}}", 'function "nonsense" not defined'),
        ("{{break}}", "outside {{range}}"),
        ('{{define "x"}}{{end}}', "not supported"),
        ("{{$x}}", "undefined variable: $x"),
        ("{{.a.b}}", 'map has no entry for key "b"'),
        ("{{index .a.i 9}}", "index out of range: 9"),
        ('{{join .n ","}}', "error calling join"),
        ("{{len 3}}", "error calling len"),
        ('{{eq .a.i "x"}}', "incompatible types"),
        ("{{.n.x}}", "nil pointer"),
        ("{{range 1.5}}{{end}}", "can't iterate"),
        ("{{(.a}}", "unclosed left paren"),
        ("{{}}", "missing value for command"),
        ("{{1 2}}", "not a method"),
    ],
)
def test_errors_name_what_is_wrong(source: str, words: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(words)):
        Template(source).render({"a": {"i": [1]}, "n": None})
