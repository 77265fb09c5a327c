"""The judges: the unmodified docker CLI and docker-py against the frontend over the engine in memory."""

import os
import shutil
import subprocess

import docker
import pytest
from docker.errors import APIError, ImageNotFound, NotFound

from barque.spi.common import Progress

DOCKER = shutil.which("docker")


@pytest.fixture
def cli(api, tmp_path):
    if DOCKER is None:
        pytest.skip("no docker CLI on this machine")
    environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": f"unix://{api.path}"}
    environment.pop("DOCKER_CONTEXT", None)

    def run(*arguments, stdin=None, code=0):
        done = subprocess.run(
            [DOCKER, *arguments], capture_output=True, text=True, env=environment, timeout=30, input=stdin
        )
        assert done.returncode == code, done
        return (done.stdout if code == 0 else done.stdout + done.stderr).strip()

    return run


@pytest.fixture
def client(api):
    client = docker.DockerClient(base_url=f"unix://{api.path}", version="auto")
    yield client
    client.close()


def test_cli_run(cli, engine):
    assert cli("run", "bb:1", "echo", "hi", "there") == "hi there"
    assert cli("run", "--rm", "-i", "bb:1", "cat", stdin="to and fro") == "to and fro"
    cli("run", "--rm", "bb:1", "exit", "42", code=42)
    assert len(engine.containers) == 1


def test_cli_life_of_a_container(cli, engine):
    id = cli("run", "-d", "--name", "web", "-p", "8080:80", "-l", "k=v", "bb:1", "sleep", "9")
    assert cli("ps", "--no-trunc", "--format", "{{.ID}}|{{.Image}}|{{.Ports}}|{{.Names}}") == (
        f"{id}|bb:1|0.0.0.0:8080->80/tcp|web"
    )
    assert (
        cli("inspect", "-f", "{{.State.Status}} {{.NetworkSettings.IPAddress}}", "web")
        == "running 172.17.0.2"
    )
    assert cli("port", "web") == "80/tcp -> 0.0.0.0:8080"
    assert cli("exec", "web", "some", "thing") == "some thing"
    assert cli("exec", "-i", "web", "cat", stdin="piped") == "piped"
    assert "executable file not found" in cli("exec", "web", "late", code=127)
    cli("restart", "-t", "0", "web")
    cli("kill", "web")
    assert cli("wait", "web") == "137"
    assert cli("ps", "-a", "--filter", "label=k=v", "--format", "{{.State}}") == "exited"
    assert cli("logs", "web") == ""
    cli("rm", "web")
    assert "No such container: web" in cli("logs", "web", code=1)
    assert "o such object: web" in cli("inspect", "web", code=1)


def test_cli_images_networks_system(cli, engine):
    engine.pull_steps = [Progress("aa", "Downloading", 1, 2), Progress("aa", "Pull complete")]
    assert "Downloaded newer image for bb:1" in cli("pull", "bb:1")
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}") == "bb:1 1.23MB"
    assert cli("image", "inspect", "-f", "{{.Architecture}}", "bb:1") == "amd64"
    assert "ADD x" in cli("history", "bb:1")
    assert "Untagged: bb:1" in cli("rmi", "bb:1")
    assert "bridge" in cli("network", "ls")
    assert cli("version", "-f", "{{.Server.Version}}") == "9.8.7"
    assert "Storage Driver: overlay" in cli("info")


def test_docker_py(client, engine):
    assert client.ping()
    assert client.version()["Version"] == "9.8.7"
    assert client.containers.run("bb:1", ["echo", "hello"], remove=True) == b"hello\n"
    web = client.containers.run(
        "bb:1", ["sleep", "9"], detach=True, name="web", ports={"80/tcp": ("127.0.0.1", 8080)}, mem_limit="64m",
        volumes={"/tmp": {"bind": "/t", "mode": "ro"}}, environment={"A": "1"}, group_add=[5], network="bridge",
    )  # fmt: skip
    assert web.status == "running" or (web.reload() or web.status == "running")
    assert web.attrs["HostConfig"]["Memory"] == 64 << 20
    assert web.ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    code, output = web.exec_run(["say", "it"])
    assert (code, output) == (0, b"say it")
    assert web.exec_run(["say"], demux=True).output == (b"say", None)
    stream = web.exec_run(["cat"], stdin=True, socket=True).output
    stream._sock.sendall(b"x")
    assert stream._sock.recv(100) == b"\1\0\0\0\0\0\0\1x"
    stream._sock.close()
    stream.close()
    assert [one.name for one in client.containers.list(filters={"name": "web"})] == ["web"]
    assert web.logs() == b""
    web.kill()
    assert web.wait()["StatusCode"] == 137
    with pytest.raises(APIError) as error:
        web.kill()
    assert error.value.status_code == 409
    web.remove()
    with pytest.raises(NotFound):
        client.containers.get("web")
    with pytest.raises(ImageNotFound):
        client.images.get("nope")
    assert client.images.list()[0].tags == ["bb:1"]
    assert client.images.pull("bb", tag="1").tags == ["bb:1"]
    assert {one.name for one in client.networks.list()} == {"bridge", "own"}


def test_docker_py_events(client, engine):
    events = client.events(decode=True)
    engine.publish("container", "start", "c" * 64, name="web")
    assert next(events)["Action"] == "start"
    events.close()
