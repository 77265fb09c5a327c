"""Contexts: kept as docker keeps them, chosen as docker chooses, and docker's own are found and left alone."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon
from cli_program import environment, run_here

from barque.cli.addressing import choose, context_name
from barque.cli.errors import CliError

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """barque with configuration directories of its own."""
    monkeypatch.chdir(tmp_path)

    def barque(*words: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        variables = environment(BARQUE_CONFIG=f"{tmp_path}/ours", DOCKER_CONFIG=f"{tmp_path}/docker", **extra)
        done = run_here(words, variables, stdin.encode())
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return barque


def test_a_context_from_its_making_to_its_end(run: Run, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.answer("GET /version", {"Version": "9.9"})
    made = run("context", "create", "near", "--description", "The near one", "--docker", f"host={daemon.url}")
    assert (made.stdout, made.stderr) == ("near\n", 'Successfully created context "near"\n')
    show = ("version", "--format", "{{.Server.Version}} {{.Client.Context}}")
    assert run("--context", "near", *show).stdout == "9.9 near\n"
    assert (
        run(*show, BARQUE_CONTEXT="near").stdout == run(*show, DOCKER_CONTEXT="near").stdout == "9.9 near\n"
    )
    used = run("context", "use", "near")
    assert (used.stdout, used.stderr) == ("near\n", 'Current context is now "near"\n')
    assert run("context", "show").stdout == "near\n"
    assert run(*show).stdout == "9.9 near\n"
    assert run("--context", "default", "context", "show").stdout == "default\n"
    listed = run("context", "ls").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [
        ["NAME", "DESCRIPTION"],
        ["default", "Current"],
        ["near", "*"],
    ]
    assert run("context", "ls", "-q").stdout == "default\nnear\n"
    assert run("context", "update", "near", "--description", "New").returncode == 0
    (shown,) = json.loads(run("context", "inspect").stdout)
    assert (shown["Metadata"], shown["Endpoints"]["docker"]["Host"]) == ({"Description": "New"}, daemon.url)
    refused = run("context", "rm", "near")
    assert (refused.returncode, refused.stderr) == (
        1,
        'context "near" is in use, set -f flag to force remove\n',
    )
    assert run("context", "rm", "-f", "near", "nothing").stdout == "near\nnothing\n"
    assert run("context", "show").stdout == "default\n"
    assert [path for path in (tmp_path / "ours/contexts").rglob("*") if path.is_file()] == []
    assert (tmp_path / "ours/config.json").stat().st_mode & 0o777 == 0o600


def test_docker_understands_what_we_wrote_and_we_what_it_wrote(run: Run, docker: Any, tmp_path: Path) -> None:
    docker("context", "create", "theirs", "--docker", "host=tcp://192.0.2.1:2376,skip-tls-verify=true")
    assert run("context", "create", "ours", "--docker", "host=ssh://me@far").returncode == 0
    assert run("context", "ls", "-q").stdout == "default\nours\ntheirs\n"
    theirs = json.loads(docker("context", "inspect", "theirs").stdout)
    assert json.loads(run("context", "inspect", "theirs").stdout) == theirs
    for words in (["rm", "theirs"], ["update", "theirs", "--description", "x"]):
        refused = run("context", *words)
        assert (refused.returncode, 'context "theirs" is docker\'s' in refused.stderr) == (1, True)
    assert run("context", "export", "ours", "x.tar").returncode == 0
    assert (tmp_path / "x.tar").stat().st_mode & 0o777 == 0o600
    assert docker("context", "import", "taken", f"{tmp_path}/x.tar").returncode == 0
    assert b"ssh://me@far" in docker("context", "inspect", "taken").stdout
    docker("context", "export", "theirs", f"{tmp_path}/y.tar")
    assert run("context", "import", "again", "y.tar").stderr == 'Successfully imported context "again"\n'
    assert json.loads(run("context", "inspect", "again").stdout)[0]["Endpoints"] == theirs[0]["Endpoints"]


def test_certificates_go_with_a_context(run: Run, tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(name)
    given = "host=tcp://192.0.2.1:2376,ca=ca.pem,cert=cert.pem,key=key.pem"
    assert run("context", "create", "lab", "--docker", given).returncode == 0
    (shown,) = json.loads(run("context", "inspect", "lab").stdout)
    assert shown["TLSMaterial"] == {"docker": ["ca.pem", "cert.pem", "key.pem"]}
    key = Path(shown["Storage"]["TLSPath"]) / "docker/key.pem"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("key", 0o600)
    environ = {"BARQUE_CONFIG": f"{tmp_path}/ours"}
    address = choose("", environ, context="lab")
    assert address.tls is not None
    assert (address.tls.verify, address.tls.key) == (True, str(key))
    run("context", "create", "copy", "--from", "lab")
    run("context", "update", "lab", "--docker", "host=tcp://192.0.2.1:2376,skip-tls-verify=true")
    assert not key.exists()
    unverified = choose("", environ, context="lab").tls
    assert unverified is not None
    assert not unverified.verify
    archive = run("context", "export", "copy", "x.tar")
    assert archive.returncode == 0
    assert run("context", "import", "third", "x.tar").returncode == 0
    assert json.loads(run("context", "inspect", "third").stdout)[0]["TLSMaterial"] == shown["TLSMaterial"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "default"], '"default" is a reserved context name'),
        (["create", "a b"], 'context name "a b" is invalid, names are validated against regexp'),
        (["create", "../x"], 'context name "../x" is invalid'),
        (["create", "xx", "--docker", "host=ftp://x"], "unable to parse docker host `ftp://x`"),
        (["create", "xx", "--docker", "colour=red"], "unrecognized config key: colour"),
        (["create", "xx", "--docker", "host=tcp://h:1,ca=/nonexistent"], "open /nonexistent: no such file or directory"),
        (["use", "nothing"], 'context "nothing": context not found'),
        (["inspect", "nothing"], 'context "nothing": context not found'),
        (["update", "nothing"], 'context "nothing" does not exist'),
        (["rm", "default"], 'context "default" cannot be removed'),
        (["rm", "nothing"], 'context "nothing" does not exist'),
        (["export", "nothing"], 'context "nothing": context not found'),
        (["import", "xx", "/nonexistent"], "open /nonexistent: no such file or directory"),
        (["import", "xx", "/etc/passwd"], "invalid context"),
    ],
    ids=str,
)  # fmt: skip
def test_complaints(run: Run, words: list[str], message: str) -> None:
    done = run("context", *words)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("local", "central", "value"), [(6, 8, 1), (8, 10, 99)], ids=["encrypted", "unknown method"]
)
def test_an_archive_that_cannot_be_read_is_told(
    run: Run, tmp_path: Path, local: int, central: int, value: int
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("meta.json", "{}")
    content = bytearray(buffer.getvalue())
    content[local] = content[content.find(b"PK\1\2") + central] = value
    (tmp_path / "x.zip").write_bytes(content)
    done = run("context", "import", "xx", "x.zip")
    assert done.returncode == 1
    assert done.stderr.startswith("invalid context: ")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "tls/docker/../../evil", "tls/docker/other.pem"])
def test_an_archive_writes_only_what_a_context_has(run: Run, tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for member, data in (("meta.json", b'{"Name":"x","Endpoints":{}}'), (name, b"evil")):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    done = run("context", "import", "xx", "x.tar")
    assert (done.returncode, done.stderr) == (1, f"invalid context: unexpected entry {name}\n")
    assert not list(tmp_path.rglob("evil*"))
    assert run("context", "ls", "-q").stdout == "default\n"


def test_links_in_an_archive_are_refused(run: Run, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("meta.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert "unexpected entry meta.json" in run("context", "import", "xx", "x.tar").stderr


def test_what_names_the_daemon_in_order(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "current"}')
    environ = {"BARQUE_CONFIG": str(tmp_path)}
    assert context_name(environ) == "current"
    assert context_name(environ | {"DOCKER_CONTEXT": "d"}) == "d"
    assert context_name(environ | {"DOCKER_CONTEXT": "d", "DOCKER_HOST": "unix:///x"}) == "default"
    assert context_name(environ | {"BARQUE_CONTEXT": "b", "DOCKER_HOST": "unix:///x"}) == "b"
    assert context_name(environ | {"BARQUE_CONTEXT": "b", "BARQUE_HOST": "unix:///x"}) == "default"
    with pytest.raises(CliError, match='context "current": context not found'):
        choose("", environ)
    with pytest.raises(CliError, match="cannot specify both --host and --context"):
        choose("unix:///x", environ, context="x")
    assert choose("unix:///x", environ).path == "/x"
    (tmp_path / "config.json").write_text("[]")
    assert context_name(environ) == "default"


def test_config_is_the_directory_of_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    run("--config", "other", "context", "create", "here", "--docker", "host=unix:///x")
    assert run("--config", "other", "context", "ls", "-q").stdout == "default\nhere\n"
    assert run("context", "ls", "-q").stdout == "default\n"


def test_a_variable_that_is_stronger_is_told(run: Run) -> None:
    run("context", "create", "near", "--docker", "host=unix:///x")
    used = run("context", "use", "near", DOCKER_HOST="unix:///y")
    assert used.stderr.splitlines()[1].startswith("Warning: DOCKER_HOST environment variable overrides")
    assert run("context", "ls", BARQUE_HOST="unix:///y").stderr.startswith("Warning: BARQUE_HOST environment")
