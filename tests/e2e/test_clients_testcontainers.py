"""testcontainers-python with Redis, PostgreSQL and a reaper, in images made of Debian packages."""

import json
import socket
import tempfile
from pathlib import Path

import pytest
from images_lab import becomes, in_lab, write_profile
from server_images import (
    debian_archive,
    download_debs,
    packages_image,
    postgres_image,
    redis_image,
    script_image,
)

from barque.testing import need
from barque.testing.daemon import Daemon

pytestmark = [
    pytest.mark.root,
    # docker-py leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(240),  # 95 MB to download and 430 to unpack, where nothing is cached
]


@pytest.fixture(scope="module")
def daemon(request, lab, workspace, tmp_path_factory):
    debs = download_debs(
        request.config.cache.mkdir("debs"), "redis-server", "postgresql", "python3", "bash", "coreutils"
    )
    base = Path(tempfile.mkdtemp(dir=workspace))
    profile = Path(write_profile(base / "p.toml"))
    with debian_archive(tmp_path_factory.mktemp("debian"), debs) as archive:
        settings = {"suite": "bookworm", "mirror": archive.url, "keyring": archive.keyring}
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        profile.write_text(profile.read_text() + "\n".join(["[image.deb]", *lines, ""]))
        daemon = Daemon(base, lab, str(profile))
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.close()


@pytest.fixture
def settings(daemon, monkeypatch):
    """testcontainers' configuration: our socket, no reaper, a quick look again."""
    monkeypatch.setenv("DOCKER_HOST", daemon.host)
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    monkeypatch.setattr(testcontainers_config, "sleep_time", 0.1)
    monkeypatch.setattr(testcontainers_config, "max_tries", 600)
    return testcontainers_config


def test_redis(daemon, lab, settings):
    try:
        from testcontainers.community.redis import RedisContainer
    except ImportError:
        need.unavailable("needs the Python package redis (testcontainers[redis])")
    image = redis_image(daemon)

    def work():
        with RedisContainer(image, password="secret") as server:
            client = server.get_client()
            assert client.set("greeting", "from the host")
            client.close()
            port = server.get_exposed_port(6379)
            told = _redis(port, "AUTH secret", "GET greeting", "CONFIG GET dir")
            code, output = server.exec(["redis-cli", "--no-auth-warning", "-a", "secret", "ping"])
            logs = b"".join(server.get_logs())
            server.get_wrapped_container().restart(timeout=5)
            port = server.get_exposed_port(6379)
            becomes(True, lambda: "PONG" in _redis(port, "AUTH secret", "PING"))
            return told, code, output, logs, _redis(port, "AUTH secret", "GET greeting")

    told, code, output, logs, after = in_lab(lab, work)
    assert "from the host" in told
    assert "/data" in told
    assert (code, output) == (0, b"PONG\n")
    assert b"Ready to accept connections" in logs
    assert "from the host" in after  # SIGTERM let it save into its volume
    assert daemon.json("GET", "/containers/json?all=1") == []
    assert daemon.json("GET", "/volumes")["Volumes"] == []


def _redis(port, *commands):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in [*commands, "QUIT"]).encode())
            with connection.makefile("rb") as answers:
                return answers.read().decode()
    except ConnectionError:
        return ""


def test_postgres(daemon, lab, settings):
    from testcontainers.community.postgres import PostgresContainer

    image = postgres_image(daemon)
    shown = daemon.json("GET", f"/images/{image}/json")["Config"]
    assert shown["Volumes"] == {"/var/lib/postgresql/data": {}}
    assert (shown["User"], shown["StopSignal"]) == ("postgres", "SIGINT")

    def work():
        server = PostgresContainer(image, username="ann", password="it's", dbname="shop")
        with server.with_command(["-c", "fsync=off", "-c", "max_connections=20"]):
            assert f":{server.get_exposed_port(5432)}/shop" in server.get_connection_url(driver=None)
            _psql(
                server,
                "CREATE TABLE orders (id serial, what text); INSERT INTO orders(what) VALUES ('rope');",
            )
            settings = _psql(server, "SHOW max_connections; SELECT current_user;")
            outside = _greets(server.get_exposed_port(5432))
            logs = b"".join(server.get_logs())
            server.get_wrapped_container().restart(timeout=10)
            server._connect()
            kept = _psql(server, "SELECT what FROM orders;")
            state = server.get_wrapped_container().attrs["State"]
            mounts = [mount["Destination"] for mount in server.get_wrapped_container().attrs["Mounts"]]
            return settings, outside, logs, kept, state, mounts

    settings, outside, logs, kept, state, mounts = in_lab(lab, work)
    assert settings.split() == ["20", "ann"]
    assert outside == b"N"  # to an SSLRequest: it is a PostgreSQL without TLS
    assert b"database system is ready to accept connections" in logs
    assert kept.split() == ["rope"]
    assert state["Running"]
    assert mounts == ["/var/lib/postgresql/data"]
    assert daemon.json("GET", "/containers/json?all=1") == []
    assert daemon.json("GET", "/volumes")["Volumes"] == []


def _psql(server, sql):
    from testcontainers.core.container import ExecConfig

    environment = {"PGPASSWORD": server.password}
    command = ["psql", "-h", "127.0.0.1", "-U", server.username, "-d", server.dbname, "-Atqc", sql]
    code, output = server.exec(ExecConfig(command, environment=environment))
    assert code == 0, output
    return output.decode()


def _greets(port):
    """What a server on the published port says to PostgreSQL's SSLRequest."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(bytes.fromhex("0000000804d2162f"))
        return connection.recv(1)


def test_reaper_networks_and_files(daemon, lab, settings, monkeypatch, tmp_path):
    """testcontainers' own client of Ryuk finds our reaper, which removes by the mounted socket what a test left."""
    from testcontainers.core.container import DockerContainer, Reaper
    from testcontainers.core.network import Network
    from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

    base = packages_image(daemon, "python3")
    script = Path(__file__).with_name("reaper.py").read_text()
    image = script_image(daemon, base, "reaper:1", script, "python3", "/script")
    monkeypatch.setattr(settings, "ryuk_disabled", False)
    monkeypatch.setattr(settings, "ryuk_image", image)
    monkeypatch.setattr(settings, "ryuk_docker_socket", str(daemon.socket))
    page = tmp_path / "page.html"
    page.write_text("a page\n")
    serve = ["python3", "-m", "http.server", "-d", "/www", "80"]

    def work():
        network = Network().create()
        left = DockerContainer(base).with_network(network).with_network_aliases("left")
        left.with_command(serve).with_exposed_ports(80).with_copy_into_container(page, "/www/page.html")
        left.with_tmpfs_mount("/scratch", "size=1m").waiting_for(HttpWaitStrategy(80, "/page.html"))
        left.start()
        other = DockerContainer(base).with_network(network).with_env("GREETING", "hello")
        fetch = "import os, urllib.request as r; print(os.environ['GREETING'], r.urlopen('http://left/page.html').read())"
        other.with_command(["python3", "-c", fetch]).waiting_for(LogMessageWaitStrategy("hello b'a page"))
        other.start()
        assert other.wait() == 0
        other.stop()
        reaper = Reaper._container.get_container_id()
        assert {each["Id"] for each in _all(daemon)} == {reaper, left.get_container_id()}
        Reaper._socket.close()  # as a test run that is over, or killed
        becomes([], lambda: _all(daemon))  # the reaper too: --rm
        network.remove()

    try:
        in_lab(lab, work)
    finally:
        Reaper._instance = Reaper._container = Reaper._socket = None  # nothing is left for its exit handler
    assert daemon.json("GET", "/networks?filters=" + '{"type":["custom"]}') == []


def _all(daemon):
    return daemon.json("GET", "/containers/json?all=1")
