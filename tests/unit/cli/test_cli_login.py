"""Login and logout: what docker prints and stores, its file shared, credential helpers, passwords unseen."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, environment

from barque.cli.credentials import HUB, Credentials, CredentialStore, registry_auth
from barque.cli.errors import CliError

SERVER = "127.0.0.1:5001"
AUTH = base64.b64encode(b"bob:secret").decode()


@pytest.fixture
def checks(daemon: FakeDaemon) -> FakeDaemon:
    """bob's password is secret, dave gets an identity token."""

    def auth(request: Request, answer: Exchange) -> None:
        given = request.document
        if given.get("username") == "dave":
            answer.json({"IdentityToken": "tok", "Status": "Login Succeeded"})
        elif (given.get("username"), given.get("password")) == ("bob", "secret"):
            answer.json({"IdentityToken": "", "Status": "Login Succeeded"})
        else:
            answer.error(401, "unauthorized: incorrect username or password")

    daemon.route("POST /auth", auth)
    return daemon


class Client:
    """A program with a configuration of its own."""

    def __init__(self, program: tuple[str, ...], url: str, config: Path, path: str = "") -> None:
        config.mkdir()
        self.file = config / "config.json"
        extra = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
        self.environment = environment(DOCKER_HOST=url, BARQUE_HOST=url, DOCKER_CONFIG=str(config), **extra)
        self.program = program

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(
            [*self.program, *arguments], input=stdin, capture_output=True, timeout=60, check=False,
            env=self.environment,
        )  # fmt: skip
        directory = str(self.file.parent)
        return done.returncode, done.stdout.decode(), done.stderr.decode().replace(directory, "CONFIG")

    def stored(self) -> Any:
        return json.loads(self.file.read_text()) if self.file.exists() else None


@pytest.fixture
def helpers(tmp_path: Path) -> str:
    """A directory with `docker-credential-files`, which keeps credentials in files."""
    directory = tmp_path / "helpers"
    directory.mkdir()
    script = directory / "docker-credential-files"
    script.write_text(
        "#!/usr/bin/env python3\n"
        "import json, os, sys, urllib.parse\n"
        f"base = {str(tmp_path)!r} + '/kept'\n"
        "os.makedirs(base, exist_ok=True)\n"
        "text = sys.stdin.read()\n"
        "action = sys.argv[1]\n"
        "if action == 'store':\n"
        "    name = json.loads(text)['ServerURL']\n"
        "    open(base + '/' + urllib.parse.quote(name, ''), 'w').write(text)\n"
        "elif action == 'list':\n"
        "    found = (json.load(open(base + '/' + name)) for name in os.listdir(base))\n"
        "    print(json.dumps({one['ServerURL']: one['Username'] for one in found}))\n"
        "else:\n"
        "    path = base + '/' + urllib.parse.quote(text.strip(), '')\n"
        "    if not os.path.exists(path):\n"
        "        print('credentials not found in native keychain')\n"
        "        sys.exit(1)\n"
        "    if action == 'get':\n"
        "        print(open(path).read())\n"
        "    else:\n"
        "        os.unlink(path)\n"
    )
    script.chmod(0o755)
    return str(directory)


@pytest.fixture
def both(checks: FakeDaemon, tmp_path: Path, docker: Any, helpers: str) -> tuple[Client, Client]:
    """barque and docker, each with a directory of its own."""
    return (
        Client(BARQUE, checks.url, tmp_path / "ours", helpers),
        Client(("docker",), checks.url, tmp_path / "theirs", helpers),
    )


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["-u", "bob", "--password-stdin", SERVER], b"secret\n"),
        (["-u", "bob", "--password-stdin", SERVER], b"secret\r\n"),
        (["-u", "bob", "--password-stdin", SERVER], b"wrong"),
        (["-u", "bob", "-p", "secret", f"https://{SERVER}/v1/"], b""),
        (["-u", "dave", "-p", "x", SERVER], b""),
        (["-u", "bob", "-p", "secret", "docker.io"], b""),
        (["-u", "bob", SERVER], b""),
        (["-p", "secret", SERVER], b""),
        ([SERVER], b""),
        (["--password-stdin", SERVER], b"secret"),
        (["-u", "bob", "-p", "x", "--password-stdin", SERVER], b"secret"),
    ],
    ids=str,
)
def test_login(both: tuple[Client, Client], checks: FakeDaemon, arguments: list[str], stdin: bytes) -> None:
    ours, theirs = both
    for _ in range(2):  # the second time the credentials are stored already
        assert ours.run("login", *arguments, stdin=stdin) == theirs.run("login", *arguments, stdin=stdin)
        assert ours.stored() == theirs.stored()
    asked = [request.document for request in checks.seen("POST /auth")]
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]
    if ours.file.exists():
        assert ours.file.stat().st_mode & 0o777 == 0o600


def test_login_again_with_what_is_stored(both: tuple[Client, Client]) -> None:
    for client in both:
        client.file.write_text(json.dumps({"auths": {SERVER: {"auth": AUTH}}, "psFormat": "x"}))
    (code, out, err), theirs = (client.run("login", SERVER) for client in both)
    assert (code, out, err.replace("barque log", "docker log")) == theirs
    assert both[0].stored() == both[1].stored()


def test_login_when_what_is_stored_is_good_no_more(both: tuple[Client, Client]) -> None:
    for client in both:
        client.file.write_text(
            json.dumps({"auths": {SERVER: {"auth": base64.b64encode(b"bob:old").decode()}}})
        )
    (code, out, err), theirs = (client.run("login", SERVER) for client in both)
    assert (code, out, err.replace("barque log", "docker log")) == theirs


@pytest.mark.parametrize("server", [[SERVER], [f"https://{SERVER}"], []], ids=str)
def test_logout(both: tuple[Client, Client], server: list[str]) -> None:
    for client in both:
        kept = {"auths": {name: {"auth": AUTH} for name in (SERVER, f"https://{SERVER}", HUB, "other")}}
        client.file.write_text(json.dumps(kept))
    ours, theirs = both
    for _ in range(2):
        assert ours.run("logout", *server) == theirs.run("logout", *server)
        assert ours.stored() == theirs.stored()


def test_the_file_keeps_what_is_not_ours(both: tuple[Client, Client]) -> None:
    ours, _ = both
    former = {"psFormat": "table", "auths": {"other": {"auth": AUTH}}, "HttpHeaders": {"X": "y"}}
    target = ours.file.parent / "elsewhere.json"
    target.write_text(json.dumps(former))
    target.chmod(0o644)
    ours.file.symlink_to(target)
    assert ours.run("login", "-u", "bob", "--password-stdin", SERVER, stdin=b"secret")[0] == 0
    assert ours.stored() == {**former, "auths": {"other": {"auth": AUTH}, SERVER: {"auth": AUTH}}}
    assert ours.file.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(ours.file.parent)) == ["config.json", "elsewhere.json"]


@pytest.mark.parametrize("setting", [{"credsStore": "files"}, {"credHelpers": {SERVER: "files"}}], ids=str)
def test_credential_helpers(both: tuple[Client, Client], tmp_path: Path, setting: dict[str, Any]) -> None:
    kept = {}
    for client in both:
        client.file.write_text(json.dumps(setting))
        results = [client.run("login", "-u", "bob", "--password-stdin", SERVER, stdin=b"secret")]
        results.append(client.run("login", SERVER))
        files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "kept").iterdir()}
        document = client.stored()
        results.append(client.run("logout", SERVER))
        kept[client.program[0]] = (
            [(code, out, err.replace("barque log", "docker log")) for code, out, err in results],
            files, document, client.stored(), list((tmp_path / "kept").iterdir()),
        )  # fmt: skip
    ours, theirs = kept.values()
    assert ours == theirs
    assert ours[1] == {"127.0.0.1%3A5001": {"ServerURL": SERVER, "Username": "bob", "Secret": "secret"}}
    assert AUTH not in json.dumps(ours[2])


def test_a_helper_keeps_an_identity_token(both: tuple[Client, Client], tmp_path: Path) -> None:
    ours, _ = both
    ours.file.write_text('{"credsStore": "files"}')
    assert ours.run("login", "-u", "dave", "--password-stdin", SERVER, stdin=b"x")[0] == 0
    (kept,) = (tmp_path / "kept").iterdir()
    assert json.loads(kept.read_text()) == {"ServerURL": SERVER, "Username": "<token>", "Secret": "tok"}


def test_a_helper_that_is_not_there(both: tuple[Client, Client]) -> None:
    for client in both:
        client.file.write_text('{"credsStore": "nowhere"}')
    ours, theirs = (
        client.run("login", "-u", "bob", "--password-stdin", SERVER, stdin=b"secret") for client in both
    )
    assert ours[0] == theirs[0] == 1
    assert ours[2].startswith("error storing credentials - err: exec:")
    ours, theirs = (client.run("logout", SERVER) for client in both)
    assert ours[:2] == theirs[:2]
    assert ours[2].startswith("WARNING: could not erase credentials:\n")


def test_pulls_and_pushes_ask_the_helper(
    helpers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{helpers}:{os.environ['PATH']}")
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "files"}))
    store = CredentialStore(environ)
    store.store("reg:5000", Credentials("bob", "secret"))
    store.store(HUB, Credentials("bob", identity_token="tok"))

    def sent(name: str) -> Any:
        header = registry_auth(name, environ)
        return json.loads(base64.urlsafe_b64decode(header["X-Registry-Auth"])) if header else None

    assert sent("reg:5000/x") == {"username": "bob", "password": "secret", "serveraddress": "reg:5000"}
    assert sent("busybox") == {"identitytoken": "tok", "serveraddress": HUB}
    assert sent("other:5000/x") is None
    from barque.cli.credential_helper import CredentialHelper

    assert CredentialHelper("files").list() == {"reg:5000": "bob", HUB: "<token>"}


def test_the_file_as_it_may_be_found(tmp_path: Path) -> None:
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    file = tmp_path / "config.json"
    assert CredentialStore(environ).get("reg") is None
    file.write_text(json.dumps({"auths": {"https://reg/v1/": {"auth": AUTH}, "t": {"registrytoken": "r"}}}))
    found = CredentialStore(environ).get("reg")
    assert found is not None
    assert (found.username, found.password) == ("bob", "secret")
    token = CredentialStore(environ).get("t")
    assert token is not None
    assert token.document("t") == {"registrytoken": "r", "serveraddress": "t"}
    for wrong in ("[]", "{", '{"auths": []}', '{"auths": {"reg": {"auth": "%"}}}', '{"auths": {"reg": 3}}'):
        file.write_text(wrong)
        with pytest.raises(CliError, match="error parsing config file"):
            CredentialStore(environ).get("reg")


def test_where_nothing_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = CredentialStore({"DOCKER_CONFIG": str(tmp_path / "file")})
    with pytest.raises(CliError, match="error saving"):
        store.store("reg", Credentials("a", "b"))


# -- on a terminal


def converse(argv: list[str], answers: list[bytes], variables: dict[str, str]) -> tuple[int, bytes]:
    """Run a program on a terminal; each answer is typed once the program is silent."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(argv[0], argv, variables)
    said, deadline = b"", time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            ready = select.select([terminal], [], [], 0.5 if answers else 5.0)[0]
            if not ready and answers and said.endswith((b": ", b"] ")):
                os.write(terminal, answers.pop(0))
            elif ready:
                try:
                    piece = os.read(terminal, 4096)
                except OSError:
                    break
                if not piece:
                    break
                said += piece
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (["login", SERVER], [b"bob\n", b"secret\n"]),
        (["login", "-u", "bob", SERVER], [b"wrong\n"]),
        (["login", "-u", "bob", SERVER], [b"\n"]),
        (["login", SERVER], [b"\n"]),
        (["save", "a"], []),
        (["load"], []),
    ],
    ids=str,
)
def test_on_a_terminal(both: tuple[Client, Client], arguments: list[str], answers: list[bytes]) -> None:
    ours, theirs = (
        converse([*client.program, *arguments], list(answers), client.environment) for client in both
    )
    directories = [str(client.file.parent).encode() for client in both]
    assert (ours[0], ours[1].replace(directories[0], b"C")) == (
        theirs[0],
        theirs[1].replace(directories[1], b"C"),
    )
    assert b"secret\r" not in ours[1], "a password is not shown"
