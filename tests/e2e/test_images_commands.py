"""Images through the docker CLI, docker-py and barque: pull, tag, push, search, login, save, load, import, history, prune, df."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import registry_in
from registry_image import IMAGE, REGISTRY

from barque.testing.daemon import Daemon
from barque.testing.layers import LayerTar
from barque.testing.registry import Contents

pytestmark = [
    pytest.mark.root,
    # docker-py leaves the sockets of streams to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

PRIVATE = "127.0.0.1:5443"
# bob:secret; a cost of 4 keeps logins fast
HTPASSWD = "bob:$2y$05$ANJRVVSfBs.LpUO4Cg.lDup3HJ6PngZxBAL6Py.bT2j0zgBI7w5AK\n"
MAIN = "import sys; from barque.cli.main import main; sys.exit(main())"


@pytest.fixture(scope="module")
def private(lab, workspace):
    """Debian's docker-registry, for bob only."""
    (workspace / "htpasswd").write_text(HTPASSWD)
    config = workspace / "private.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {workspace}/private}}}}\n"
        f"http: {{addr: {PRIVATE}}}\nauth: {{htpasswd: {{realm: here, path: {workspace}/htpasswd}}}}\n"
    )
    with (workspace / "private.log").open("wb") as log:
        process = lab.start("docker-registry", "serve", str(config), stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    probe = ("python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {PRIVATE[-4:]}))")
    while lab.run(*probe).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    yield PRIVATE
    process.terminate()
    process.wait()


class Client:
    """docker or barque, with a configuration of its own."""

    def __init__(self, daemon, program, config):
        self.daemon, self.program, self.config = daemon, program, config
        self.words = ["docker"] if program == "docker" else [sys.executable, "-c", MAIN]
        self.environment = {
            **os.environ,
            "DOCKER_HOST": daemon.host,
            "BARQUE_HOST": daemon.host,
            "DOCKER_CONFIG": str(config),
        }

    def run(self, *arguments, stdin=b""):
        return subprocess.run(
            [*self.words, *arguments], input=stdin, capture_output=True, timeout=60, env=self.environment, check=False
        )  # fmt: skip

    def __call__(self, *arguments, stdin=b""):
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.decode()

    def fails(self, *arguments, stdin=b""):
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 1, (arguments, done.stdout, done.stderr)
        return (done.stdout + done.stderr).decode()


@pytest.fixture(params=["docker", "barque"])
def client(request, daemon, tmp_path):
    return Client(daemon, request.param, tmp_path / "config")


@pytest.fixture
def stored(daemon):
    """Names that a test gives its images; they are taken away in the end."""
    names = []
    yield lambda name: names.append(name) or name
    for name in names:
        daemon.request("DELETE", f"/images/{name}?force=1")


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_login_push_pull_logout(client, private, stored):
    name = stored(f"{private}/mine/{client.program}:1")
    other = stored(f"{private}/mine/{client.program}:2")
    client("tag", IMAGE, name)
    client("tag", IMAGE, other)
    assert "no basic auth credentials" in client.fails("push", name)
    wrong = client.fails("login", "-u", "bob", "--password-stdin", private, stdin=b"wrong")
    assert "Error response from daemon:" in wrong
    assert not (client.config / "config.json").exists()
    assert "Login Succeeded\n" in client("login", "-u", "bob", "--password-stdin", private, stdin=b"secret\n")
    assert (client.config / "config.json").stat().st_mode & 0o777 == 0o600
    shown = client("push", "--all-tags", name.rpartition(":")[0]).splitlines()
    assert shown[0] == f"The push refers to repository [{private}/mine/{client.program}]"
    digests = [line for line in shown if re.fullmatch(r"[12]: digest: sha256:[0-9a-f]{64} size: \d+", line)]
    assert len(digests) == 2
    assert client("push", "-q", name) == f"{name}\n"
    client("rmi", name, other)
    lines = client("pull", "-a", name.rpartition(":")[0]).splitlines()
    assert sum(line.startswith("Digest: sha256:") for line in lines) == 2
    assert lines[-1] == name.rpartition(":")[0]
    assert re.search(r"^Status: .* for 127", "\n".join(lines), re.MULTILINE)
    client("image", "inspect", name, other)
    assert client("logout", private) == f"Removing login credentials for {private}\n"
    assert json.loads((client.config / "config.json").read_text())["auths"] == {}
    client("rmi", name)
    assert "no basic auth credentials" in client.fails("pull", name)


def test_credentials_of_docker_are_those_of_barque(daemon, private, tmp_path):
    docker, barque = (Client(daemon, program, tmp_path) for program in ("docker", "barque"))
    docker("login", "-u", "bob", "--password-stdin", private, stdin=b"secret")
    again = barque.run("login", private)
    assert (again.returncode, again.stdout) == (0, b"Login Succeeded\n")
    assert b"Authenticating with existing credentials... [Username: bob]" in again.stderr
    barque("logout", private)
    assert "Cannot perform an interactive login" in docker.fails("login", private)


def test_what_is_not_there_to_push(client, registry):
    assert "An image does not exist locally with the tag: never/heard" in client.fails(
        "push", "never/heard:1"
    )
    repository = IMAGE.rpartition(":")[0]
    assert f"tag does not exist: {repository}:no" in client.fails("push", f"{repository}:no")
    assert "tag can't be used with --all-tags/-a" in client.fails("push", "-a", IMAGE)


def test_a_pull_of_what_is_not_there_is_an_http_error(daemon, registry):
    status, body = daemon.request("POST", f"/images/create?fromImage={registry}/busybox&tag=no")
    assert status == 404
    words = f"manifest for {registry}/busybox:no not found: manifest unknown: manifest unknown"
    assert json.loads(body)["message"] == words


def test_search(client, lab):
    found = [
        {"name": "team/app", "description": "The app", "star_count": 7, "is_official": False},
        {"name": "base", "description": "Base", "star_count": 90, "is_official": True},
    ]
    with registry_in(lab, contents=Contents(found=found)) as other:
        listed = client("search", "--format", "{{.Name}} {{.StarCount}}", f"{other.address}/app").splitlines()
        assert {line.rpartition("/")[2] for line in listed} == {"app 7", "base 90"}
        official = client(
            "search", "-f", "is-official=true", "--format", "{{.StarCount}}", f"{other.address}/x"
        )
        assert official == "90\n"
    assert "outside the range of [1, 100]" in client.fails("search", "--limit", "101", f"{REGISTRY}/x")


def test_save_and_load_several(client, stored, tmp_path):
    first, second = stored(f"saved/{client.program}:1"), stored(f"saved/{client.program}:2")
    client("tag", IMAGE, first)
    imported = client("import", "-", second, stdin=tar_of("motd", b"hello")).strip()
    id = json.loads(client("image", "inspect", first))[0]["Id"]
    archive = tmp_path / "images.tar"
    client("save", "-o", str(archive), first, second)
    assert archive.stat().st_mode & 0o777 == 0o600
    client("rmi", first, second)
    assert set(client("load", "-i", str(archive)).splitlines()) == {
        f"Loaded image: {first}",
        f"Loaded image: {second}",
    }
    assert json.loads(client("image", "inspect", first))[0]["Id"] == id
    assert json.loads(client("image", "inspect", second))[0]["Id"] == imported
    piped = client.run("image", "save", second).stdout
    client("rmi", second)
    assert client("image", "load", stdin=piped) == f"Loaded image: {second}\n"
    assert "No such image" in client.fails("save", "-o", str(tmp_path / "no.tar"), first, "not/there")
    assert not (tmp_path / "no.tar").exists()
    assert client.fails("load", stdin=b"no archive")


def test_import_history_and_run(client, stored, daemon):
    name = stored(f"imported/{client.program}:1")
    layer = LayerTar().directory("bin").file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
    given = ("-c", 'CMD ["/bin/busybox", "echo", "ran"]', "-c", "LABEL made=here", "-m", "from a test")
    id = client("import", *given, "-", name, stdin=layer.content()).strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", id)
    document = json.loads(client("image", "inspect", name))[0]
    assert (document["Id"], document["Comment"]) == (id, "from a test")
    assert document["Config"]["Labels"] == {"made": "here"}
    assert client("run", "--rm", name) == "ran\n"
    (step,) = daemon.json("GET", f"/images/{name}/history")
    assert (step["Id"], step["Comment"], step["Tags"]) == (id, "from a test", [name])
    assert step["Size"] == document["Size"] > 1_000_000
    assert client("history", "--format", "{{.Comment}}", name) == "from a test\n"
    assert "run is not a valid change command" in client.fails("import", "-c", "RUN x", "-", name)


@pytest.fixture
def alone(lab, registry):
    """A daemon of its own, whose store nobody else changes."""
    base = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    daemon = Daemon(base, lab)
    try:
        daemon.start()
        assert daemon.docker("pull", "-q", IMAGE).returncode == 0
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("program", ["docker", "barque"])
def test_df_and_prunes(alone, program, tmp_path):
    client = Client(alone, program, tmp_path / "config")
    client("run", "--name", "writer", IMAGE, "sh", "-c", "head -c 300000 /dev/zero > /tmp/x")
    client("run", "-d", "--name", "runner", IMAGE, "sleep", "1000")
    for name in ("lost:1", "kept:1"):
        client("import", "-c", f"LABEL is={name[:4]}", "-", name, stdin=tar_of(name, b"x"))
    client("tag", "kept:1", "lost:1")  # the image that had the name is dangling now
    rows = {
        row[0]: row for row in (re.split(r"\s{2,}", line) for line in client("system", "df").splitlines())
    }
    assert rows["Images"][1:3] == ["3", "1"]
    assert rows["Containers"][1:3] == ["2", "1"]
    assert rows["Containers"][3].endswith("kB")
    usage = alone.json("GET", "/system/df")
    writer = next(one for one in usage["Containers"] if one["Names"] == ["/writer"])
    image = next(one for one in usage["Images"] if one["RepoTags"] == [IMAGE])
    assert 300_000 <= writer["SizeRw"] < 330_000
    assert (writer["SizeRootFs"], image["Containers"]) == (image["Size"] + writer["SizeRw"], 2)
    assert "writer" in client("system", "df", "-v")
    assert "kB (virtual " in client("ps", "-as", "--filter", "name=writer")
    assert client("container", "prune", "-f", "--filter", "until=1h") == "Total reclaimed space: 0B\n"
    pruned = client("container", "prune", "-f").splitlines()
    assert pruned[:2] == ["Deleted Containers:", writer["Id"]]
    assert re.fullmatch(r"Total reclaimed space: 3\d\d(\.\d)?kB", pruned[-1])
    dangling = client("images", "-qf", "dangling=true", "--no-trunc").strip()
    assert f"deleted: {dangling}" in client("image", "prune", "-f").splitlines()
    assert "untagged: kept:1" in client("image", "prune", "-af", "--filter", "label=is=kept").splitlines()
    assert client("system", "prune", "-af") == "Total reclaimed space: 0B\n", (
        "what a running container has stays"
    )
    assert client("images", "--format", "{{.Repository}}:{{.Tag}}") == f"{IMAGE}\n"


def test_every_byte_has_an_owner_and_the_store_is_whole(alone, tmp_path):
    barque = Client(alone, "barque", tmp_path / "config")
    barque("run", "--name", "writer", IMAGE, "sh", "-c", "head -c 300000 /dev/zero > /tmp/x")
    shown = barque("system", "df", "--all")
    total = int(re.search(r"\((\d+) bytes\) below", shown).group(1))
    root = alone.base / "root"
    counted = int(
        subprocess.run(["du", "-sB1", str(root)], capture_output=True, check=True).stdout.split()[0]
    )
    assert abs(total - counted) <= 64 << 10, "no more than what the database's log grew meanwhile"
    items = [json.loads(line) for line in barque("system", "df", "--all", "--format", "json").splitlines()]
    assert {"layer", "container", "database"} <= {item["Kind"] for item in items}
    assert barque("system", "check") == "The store is whole.\n"
    blob = max((root / "content" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    with blob.open("r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    assert "blob" in barque.fails("system", "check")
    barque.run("system", "check", "--repair")
    barque("pull", "-q", IMAGE)
    assert barque("system", "check") == "The store is whole.\n"


def test_docker_py(daemon, private, registry, stored):
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.host, timeout=30)
    try:
        image = client.images.get(IMAGE)
        name = f"{private}/py/busybox"
        stored(f"{name}:1")
        assert image.tag(name, "1")
        with pytest.raises(docker.errors.APIError) as caught:
            client.login("bob", "wrong", registry=private)
        assert caught.value.response.status_code == 401
        auth = {"username": "bob", "password": "secret"}
        assert client.login("bob", "secret", registry=private)["Status"] == "Login Succeeded"
        lines = list(client.images.push(name, tag="1", auth_config=auth, stream=True, decode=True))
        assert next(line["aux"]["Tag"] for line in lines if "aux" in line) == "1"
        assert client.images.get_registry_data(f"{name}:1", auth_config=auth).id.startswith("sha256:")
        assert [one.id for one in client.images.pull(name, all_tags=True, auth_config=auth)] == [image.id]
        with pytest.raises(docker.errors.NotFound):
            client.images.pull(f"{REGISTRY}/not/there", tag="1")
        archive = b"".join(client.images.get(f"{name}:1").save(named=f"{name}:1"))
        client.images.remove(f"{name}:1")
        (loaded,) = client.images.load(archive)
        assert loaded.id == image.id
        assert f"{name}:1" in loaded.tags
        assert image.history() == []
        assert client.images.prune(filters={"label": ["no=such"]}) == {
            "ImagesDeleted": None,
            "SpaceReclaimed": 0,
        }
        assert client.df()["LayersSize"] > 1_000_000
        stored("py/imported:1")
        client.api.import_image_from_data(tar_of("x", b"y"), repository="py/imported", tag="1")
        assert client.images.get("py/imported:1").attrs["RootFS"]["Layers"]
    finally:
        client.close()
