"""Debian's docker-compose 1.29: an application of six services from up to down."""

import tempfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from compose_app import Compose
from images_lab import becomes, in_lab
from registry_image import IMAGE

from barque.testing import need
from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root
_ALL = ["cache_1", "db_1", "flaky_1", "proxy_1", "web_1", "worker_1"]


@pytest.fixture(scope="module")
def daemon(lab, workspace, registry):
    need.tool("docker-compose")
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def shop(daemon, tmp_path_factory):
    """The application, up. docker-compose pulls its image."""
    shop = Compose(daemon, tmp_path_factory.mktemp("shop"))
    told = shop("up", "-d")
    assert "Pulling" in told
    for name in _ALL:
        assert f"Creating shop_{name}" in told
    return shop


def _fetch(lab, url):
    """What a server in the daemon's network namespace answers, None without one."""

    def work():
        try:
            with urlopen(url, timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return None

    return in_lab(lab, work)


def test_up_in_the_order_of_dependencies(shop, daemon, lab):
    becomes(_ALL, shop.running)
    becomes(
        "stored\n", lambda: _fetch(lab, "http://127.0.0.1:18080/")
    )  # web read it from a db that was healthy
    database, web = shop.container("db"), shop.container("web")
    assert database["State"]["Health"]["Status"] == "healthy"
    assert "FROM_FILE=yes" in database["Config"]["Env"]
    assert database["NetworkSettings"]["Networks"]["shop_back"]["IPAddress"] == "10.231.7.77"
    assert sorted(web["NetworkSettings"]["Networks"]) == ["shop_back", "shop_front"]
    ports = web["NetworkSettings"]["Ports"]
    assert {key: entries[0]["HostPort"] for key, entries in ports.items()} == {
        "8080/tcp": "18080", "9090/tcp": "18090", "9091/tcp": "18091", "9092/tcp": "18092", "5353/udp": "18093",
    }  # fmt: skip
    assert ports["8080/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18080"}]
    becomes(
        "a page from a container\n", lambda: _fetch(lab, "http://127.0.0.1:18090/")
    )  # of proxy, which has web's network
    becomes(2, lambda: shop.container("flaky")["RestartCount"])
    assert shop.container("flaky")["State"]["Running"]
    again = shop("up", "-d")
    assert "shop_web_1 is up-to-date" in again
    assert "reating" not in again


def test_ps_logs_exec_and_what_else_shows(shop, lab):
    listed = shop("ps")
    assert "Up (healthy)" in listed
    assert "127.0.0.1:18080->8080/tcp" in listed
    assert shop("ps", "-q", "web") == shop.container("web")["Id"] + "\n"
    assert shop("port", "--protocol", "udp", "web", "5353") == "0.0.0.0:18093\n"
    becomes(True, lambda: "stored" in shop("logs", "--no-color", "worker"))
    program = 'nslookup store; cat /etc/hosts; cat /etc/web.conf; echo "$SHELLS"; exit 7'
    told = shop("exec", "-T", "-e", "SHELLS=two", "web", "sh", "-c", program, expect=7)
    for expected in ("10.231.7.77", "192.0.2.7\toutside", "a setting", "two"):
        assert expected in told
    told = shop(
        "exec",
        "-T",
        "cache",
        "sh",
        "-c",
        "grep scratch /proc/mounts; grep CapEff /proc/1/status; touch /x",
        expect=1,
    )
    for expected in ("size=1024k", "CapEff:\t0000000000000000", "Read-only file system"):
        assert expected in told
    assert "httpd -f -p 8080" in shop("top", "web")
    assert IMAGE.partition(":")[0] in shop("images")


def test_run_a_command_once(shop, daemon):
    before = len(daemon.json("GET", "/containers/json?all=1"))
    told = shop(
        "run",
        "--rm",
        "-T",
        "-e",
        "WHO=me",
        "worker",
        "sh",
        "-c",
        "echo $WHO; wget -q -O- http://db:5432/row; exit 4",
        expect=4,
    )
    assert "me\nstored\n" in told
    assert len(daemon.json("GET", "/containers/json?all=1")) == before


def test_scale(shop):
    shop("up", "-d", "--scale", "worker=3")
    becomes(
        ["worker_1", "worker_2", "worker_3"], lambda: [name for name in shop.running() if "worker" in name]
    )
    told = shop("exec", "-T", "web", "nslookup", "worker")
    addresses = [
        shop.container("worker", n)["NetworkSettings"]["Networks"]["shop_back"]["IPAddress"]
        for n in (1, 2, 3)
    ]
    for address in addresses:
        assert f"Address: {address}\n" in told
    shop("up", "-d", "--scale", "worker=1")
    assert shop.running() == _ALL


def test_restart_and_stop_quickly(shop, lab):
    before = shop.container("db")["State"]
    shop("restart", "db", "cache")
    state = shop.container("db")["State"]
    assert state["StartedAt"] > before["StartedAt"]
    assert shop.container("db")["NetworkSettings"]["Networks"]["shop_back"]["IPAddress"] == "10.231.7.77"
    shop("stop", "cache")
    assert shop.container("cache")["State"]["ExitCode"] == 143  # SIGTERM, passed on by init
    shop("start", "cache")
    becomes(_ALL, shop.running)


def test_changed_service_is_made_anew_with_its_volumes(shop):
    before = shop.container("cache")
    shop("exec", "-T", "cache", "sh", "-c", "echo here > /kept/file")
    told = shop("up", "-d", GREETING="goodbye")
    assert "Recreating shop_cache_1" in told
    after = shop.container("cache")
    assert after["Id"] != before["Id"]
    assert shop("exec", "-T", "cache", "sh", "-c", "cat /kept/file; echo $GREETING") == "here\ngoodbye\n"
    assert shop.container("db")["State"]["Running"]


def test_daemon_killed_and_back(shop, daemon, lab):
    before = {name: shop.container(name.partition("_")[0])["State"]["Pid"] for name in _ALL}
    daemon.kill()
    assert _fetch(lab, "http://127.0.0.1:18080/") == "stored\n"
    daemon.start()
    assert {name: shop.container(name.partition("_")[0])["State"]["Pid"] for name in _ALL} == before
    assert "Up (healthy)" in shop("ps", "db")
    assert "stored\n" in shop("exec", "-T", "worker", "wget", "-q", "-O-", "http://database:5432/row")
    assert "shop_web_1 is up-to-date" in shop("up", "-d", GREETING="goodbye")


def test_down_leaves_nothing(shop, daemon, lab):
    shop("kill", "-s", "KILL", "worker")
    told = shop("down", "-v")
    for thing in ("container shop_db_1", "network shop_back", "network shop_front", "volume shop_dbdata"):
        kind, name = thing.split()
        assert f"Removing {name}" in told or f"Removing {kind} {name}" in told
    assert daemon.json("GET", "/containers/json?all=1") == []
    (left,) = daemon.json("GET", "/volumes")["Volumes"]  # docker-compose gave it to the new cache by its name
    assert left["Labels"] == {"com.docker.volume.anonymous": ""}
    assert daemon.json("POST", "/volumes/prune")["VolumesDeleted"] == [left["Name"]]
    assert {network["Name"] for network in daemon.json("GET", "/networks")} == {"bridge", "host", "none"}
    assert _fetch(lab, "http://127.0.0.1:18080/") is None
