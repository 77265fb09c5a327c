"""Shell completion: what `__complete` answers, and that bash itself completes by the script."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon
from cli_program import BARQUE, environment

from barque.cli import tree
from barque.cli.completing import _split
from barque.cli.completion_values import _ARGUMENTS, _FLAGS

CONTAINERS = [
    {"Id": "1" * 64, "Names": ["/web"], "Image": "nginx", "Status": "Up 2 minutes"},
    {"Id": "2" * 64, "Names": ["/worker"], "Image": "app:1", "Status": "Up 5 minutes"},
    {"Id": "3" * 64, "Names": ["/evil$(touch x)"], "Image": "x", "Status": "Up"},
]


@pytest.fixture
def known(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answer("GET /containers/json", CONTAINERS)
    daemon.answer(
        "GET /images/json", [{"RepoTags": ["alpine:3", "localhost:5000/team/app:1"]}, {"RepoTags": None}]
    )
    daemon.answer(
        "GET /networks", [{"Name": "front", "Driver": "bridge"}, {"Name": "bridge", "Driver": "bridge"}]
    )
    daemon.answer("GET /volumes", {"Volumes": [{"Name": "data", "Driver": "local"}]})
    daemon.answer(
        "GET /info", {"Runtimes": {"native": {}, "runc": {}}, "Plugins": {"Log": ["local", "none"]}}
    )
    return daemon


def completed(quick: Any, line: str) -> list[str]:
    done = quick("__complete", line)
    assert (done.returncode, done.stderr) == (0, b"")
    return [shown.partition("\t")[0] for shown in done.stdout.decode().splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("barque r", ["rename", "restart", "rm", "rmi", "run"]),
        ("barque vol", ["volume"]),
        ("barque container l", ["logs", "ls"]),
        ("barque network ", ["connect", "create", "disconnect", "inspect", "ls", "prune", "rm"]),
        ("barque system ", ["check", "df", "events", "info", "prune"]),
        ("barque run --cap", ["--cap-add", "--cap-drop"]),
        ("barque run --cap-add NET_", ["NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW"]),
        ("barque run --restart=un", ["--restart=unless-stopped"]),
        ("barque run --network ", ["bridge", "front"]),
        ("barque run -it --net f", ["front"]),
        ("barque run --rm a", ["alpine:3"]),
        ("barque run --rm alpine:3 ", []),
        ("barque run alpine:3 --c", []),
        ("barque run --runtime ", ["native", "runc"]),
        ("barque run --log-driver l", ["local"]),
        ("barque run -v d", ["data", ":files"]),
        ("barque run --env-file ", [":files"]),
        ("barque stop w", ["web", "worker"]),
        ("barque stop web w", ["worker"]),
        ("barque exec -it w", ["web", "worker"]),
        ("barque logs -f -n 5 we", ["web"]),
        ("barque kill -s SIGHU", ["SIGHUP"]),
        ("barque rmi localhost:5000/", ["localhost:5000/team/app:1"]),
        ("barque network connect f", ["front"]),
        ("barque network connect front w", ["web", "worker"]),
        ("barque network connect front web ", []),
        ("barque volume rm ", ["data"]),
        ("barque cp w", ["web:", "worker:", ":nospace", ":files"]),
        ("barque inspect --type ", ["container", "image", "network", "volume"]),
        ("barque ps -f stat", ["status=", ":nospace"]),
        ("barque completion ", ["bash", "fish", "zsh"]),
        ("barque context use ", ["default"]),
        ("barque nonsense x", []),
        ("barque --hos", ["--host"]),
        ("barque network list --fo", ["--format"]),
    ],
)  # fmt: skip
def test_what_could_follow(quick: Any, known: FakeDaemon, line: str, expected: list[str]) -> None:
    assert sorted(completed(quick, line)) == sorted(expected)


def test_flags_have_descriptions_and_names_what_they_are(quick: Any, known: FakeDaemon) -> None:
    assert b"--no-trunc\tDon't truncate output\n" in quick("__complete", "barque ps --no").stdout
    assert quick("__complete", "barque start we").stdout == b"web\tnginx, Up 2 minutes\n"


def test_the_daemon_is_that_of_the_line_and_is_never_started(
    quick: Any, known: FakeDaemon, tmp_path: Path
) -> None:
    assert completed(quick, f"barque -H {known.url} stop we") == ["web"]
    assert completed(quick, f"barque -H unix://{tmp_path}/none stop we") == []
    assert list(tmp_path.glob("none*")) == []


def test_a_daemon_that_errs_or_is_silent_completes_nothing(quick: Any, daemon: FakeDaemon) -> None:
    daemon.refuse("GET /containers/json", 500, "no")
    assert completed(quick, "barque stop ") == []
    daemon.answer("GET /containers/json", {"not": "a list"})
    assert completed(quick, "barque stop ") == []
    daemon.route("GET /containers/json", lambda _request, answer: answer.receive_all())
    assert completed(quick, "barque stop ") == []


def test_words_are_split_as_a_shell_would() -> None:
    assert _split("barque ps --format 'a b' x") == ["ps", "--format", "a b", "x"]
    assert _split('barque run "un closed') == ["run", "un closed"]
    assert _split("barque run a\\ b ") == ["run", "a b", ""]
    assert _split("barque") == _split("") == [""]
    assert _split("barque ''  ") == ["", ""]


def test_the_table_speaks_of_commands_that_exist() -> None:
    flags = {option.name for path in tree.COMMANDS for option in tree.load(path).options}
    assert set(_ARGUMENTS) <= set(tree.COMMANDS)
    assert {name.rpartition("--")[2] for name in _FLAGS} <= flags | {
        "config",
        "context",
        "log-level",
        "tlscacert",
        "tlscert",
        "tlskey",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("barque sto", ["stop"]),
        ("barque stop wo", ["worker"]),
        ("barque run localhost:5000/te", ["5000/team/app:1"]),
        ("barque run --restart=alw", ["always"]),
        ("barque network inspect fr", ["front"]),
        ("barque save -o /etc/hostn", []),
    ],
)
def test_bash_completes(known: FakeDaemon, tmp_path: Path, line: str, expected: list[str]) -> None:
    """bash runs the function as it does for the Tab key: words split at its own breaks."""
    program = tmp_path / "barque"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(BARQUE)} "$@"\n')
    program.chmod(0o755)
    words = line.replace(":", " : ").replace("=", " = ").split()
    script = f"""
        source <(barque completion bash)
        COMP_LINE={line!r} COMP_POINT={len(line)}
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        compopt() {{ :; }}
        _barque
        printf '%s\\n' "${{COMPREPLY[@]}}"
        complete -p barque
    """
    variables = environment(BARQUE_HOST=known.url, PATH=f"{tmp_path}:/usr/bin:/bin")
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=variables,
        check=True,
        timeout=30,
    )
    *found, declared = done.stdout.splitlines()
    assert [word for word in found if word] == expected, done.stderr
    assert declared == "complete -F _barque barque"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_sound(quick: Any, shell: str) -> None:
    done = quick("completion", shell)
    assert done.returncode == 0
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    flags = ["--no-execute"] if shell == "fish" else ["-n"]
    checked = subprocess.run([shell, *flags], input=done.stdout, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_another_shell(quick: Any) -> None:
    done = quick("completion", "tcsh")
    assert (done.returncode, done.stderr) == (
        1,
        b"no completion for tcsh\nHint: there are scripts for bash, zsh, fish\n",
    )
