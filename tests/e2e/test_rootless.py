"""The whole engine as an ordinary user: profile `rootless`."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, add, busybox_archive, docker_archive
from rootless_place import OUTSIDE, SUBORDINATE, Place

from barque.testing import need

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def place():
    need.root()
    place = Place()
    (place.base / "busybox.tar").write_bytes(busybox_archive())
    try:
        yield place
    finally:
        place.close()


@pytest.fixture(scope="module")
def user(place):
    """A user with a daemon and the image, for tests that leave both as they were."""
    user = place.user()
    user.start()
    user.ok("load", "-i", str(place.base / "busybox.tar"))
    return user


@pytest.fixture
def own(place, user):
    """A second user, for tests that end or break his daemon."""
    own = place.user(7102)
    yield own
    own.close()


def in_lab(place, *words):
    return subprocess.run([*place.enter, *words], capture_output=True, text=True, timeout=30, check=False)


class Web:
    """A web server in the place's network namespace, and so on the "host" that containers are to reach."""

    def __init__(self, place, address):
        code = (
            "import http.server, sys\n"
            "class H(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'from the host')\n"
            "    def log_message(self, *a): pass\n"
            "s = http.server.HTTPServer((sys.argv[1], 0), H); print(s.server_port, flush=True); s.serve_forever()"
        )
        self._process = subprocess.Popen(
            [*place.enter, sys.executable, "-c", code, address], stdout=subprocess.PIPE
        )
        self.port = int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


def fetch(user, address, port, timeout=5):
    """A page from there, asked for in a container; empty when there is no answer. (Half a close is lost on old pasta.)"""
    script = f'(printf "GET / HTTP/1.0\\r\\n\\r\\n"; sleep 2) | timeout {timeout} nc -w {timeout} {address} {port} | tail -1'
    return user.ok("run", "--rm", IMAGE, "sh", "-c", script)


def ask(place, port, address="127.0.0.1"):
    """A page of a published port, asked for on the host."""
    code = (
        "import sys, urllib.request\n"
        "sys.stdout.write(urllib.request.urlopen(f'http://{sys.argv[1]}:{sys.argv[2]}/', timeout=5).read().decode())"
    )
    done = in_lab(place, sys.executable, "-c", code, address, str(port))
    return done.stdout, done.stderr


def pid_of(user, name):
    return int(user.ok("inspect", "-f", "{{.State.Pid}}", name))


def owner(pid):
    return os.stat(f"/proc/{pid}").st_uid


# What a container is


def test_run_prints_as_root_who_is_the_user_outside(user):
    out = user.ok("run", "--rm", IMAGE, "sh", "-c", "echo hello; id -u; cat /proc/self/uid_map")
    lines = out.splitlines()
    assert lines[:2] == ["hello", "0"]
    assert lines[2].split() == ["0", str(user.uid), "1"]
    assert lines[3].split() == ["1", str(SUBORDINATE[user.uid]), "65536"]
    user.ok("run", "-d", "--name", "who", IMAGE, "sleep", "100")
    user.ok("run", "-d", "--name", "bob", "--user", "1000", IMAGE, "sleep", "100")
    try:
        assert owner(pid_of(user, "who")) == user.uid
        assert owner(pid_of(user, "bob")) == SUBORDINATE[user.uid] + 999
        shims = [pid for pid, words in user.processes().items() if words.startswith("barque-shim")]
        assert len(shims) >= 2
        assert {owner(pid) for pid in shims} == {user.uid}
    finally:
        user.ok("rm", "-f", "who", "bob")


def test_detach_logs_exec_stop_rm(user):
    user.ok(
        "run",
        "-d",
        "--name",
        "box",
        IMAGE,
        "sh",
        "-c",
        'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done',
    )
    deadline = time.monotonic() + 10
    while user.ok("logs", "box") != "up":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert user.ok("exec", "--user", "bob", "box", "id", "-un") == "bob"
    assert user.docker("exec", "box", "sh", "-c", "exit 7").returncode == 7
    user.ok("stop", "box")
    assert user.ok("inspect", "-f", "{{.State.ExitCode}}", "box") == "3"
    assert user.ok("logs", "box") == "up\nbye"
    user.ok("rm", "box")
    assert user.ok("ps", "-aq") == ""


def test_files_of_a_bind_mount_have_the_owner_that_the_id_stands_for(user):
    shared = user.home / "shared"
    shared.mkdir()
    os.chown(shared, user.uid, user.uid)
    shared.chmod(0o777)
    volume = f"{shared}:/m"
    user.ok("run", "--rm", "-v", volume, IMAGE, "touch", "/m/root")
    user.ok("run", "--rm", "-v", volume, "--user", "1000", IMAGE, "touch", "/m/bob")
    assert (shared / "root").stat().st_uid == user.uid
    assert (shared / "bob").stat().st_uid == SUBORDINATE[user.uid] + 999
    hosts = shared / "hosts-own"
    hosts.write_text("x")
    assert user.ok("run", "--rm", "-v", volume, IMAGE, "stat", "-c", "%u", "/m/hosts-own") == "65534"
    refused = user.docker("run", "--rm", "-v", volume, IMAGE, "chown", "0", "/m/hosts-own")
    assert refused.returncode == 1
    assert "Operation not permitted" in refused.stderr


def test_network_none_and_a_terminal(user):
    out = user.ok(
        "run",
        "--rm",
        "--network",
        "none",
        "-t",
        IMAGE,
        "sh",
        "-c",
        "tty; ls /sys/class/net; stat -c %g $(tty)",
    )
    assert out.split() == ["/dev/pts/0", "lo", "5"]


def test_layers_with_owners_whiteouts_and_devices(user):
    def member(tar, name, uid=0, gid=0, kind=tarfile.REGTYPE, data=b""):
        entry = tarfile.TarInfo(name)
        entry.uid, entry.gid, entry.type, entry.size, entry.mode = uid, gid, kind, len(data), 0o755
        entry.devmajor, entry.devminor = (1, 3) if kind == tarfile.CHRTYPE else (0, 0)
        tar.addfile(entry, io.BytesIO(data))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member(tar, "bin", kind=tarfile.DIRTYPE)
        member(tar, "bin/busybox", data=Path("/bin/busybox").read_bytes())
        member(tar, "dev", kind=tarfile.DIRTYPE)
        member(tar, "dev/null", kind=tarfile.CHRTYPE)
        member(tar, "mail", uid=8, gid=12, data=b"m")
        member(tar, "last", uid=65536, gid=65536, data=b"m")
    path = user.place.base / "owners.tar"
    path.write_bytes(docker_archive(layer.getvalue(), "owners:1"))
    user.ok("load", "-i", str(path))
    script = (
        "/bin/busybox stat -c %u:%g /mail /last; echo x > /dev/null; /bin/busybox rm /mail; /bin/busybox ls /"
    )
    out = user.ok("run", "--rm", "owners:1", "/bin/busybox", "sh", "-c", script).split()
    assert out[:2] == ["8:12", "65536:65536"]
    assert "mail" not in out[2:]
    user.ok("rmi", "owners:1")


def test_a_limit_is_refused_by_name_without_cgroups(user):
    refused = user.docker("run", "--rm", "--memory", "64m", IMAGE, "true")
    assert refused.returncode == 125
    assert "linux.resources.memory.limit" in refused.stderr


def test_a_user_beyond_the_range_is_refused_by_number(user):
    refused = user.docker("run", "--rm", "--user", "70000", IMAGE, "true")
    assert refused.returncode == 125
    assert "user 70000 does not exist in the user namespace" in refused.stderr
    assert "/etc/subuid" in refused.stderr


def test_info_says_rootless_and_what_is_lacking(user):
    info = json.loads(user.ok("info", "--format", "{{json .}}"))
    assert "name=rootless" in info["SecurityOptions"]
    assert ["Profile", "rootless"] in info["DriverStatus"]
    assert any(w.startswith("containers get no cgroups") for w in info["Warnings"])
    assert not any("no way out" in w for w in info["Warnings"])


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_other_runtimes(user, runtime):
    need.tool(runtime)
    assert user.ok("run", "--rm", "--runtime", runtime, "--user", "1000", IMAGE, "id", "-u") == "1000"


# Published ports


def test_published_port_answers_on_the_hosts_loopback(user, place):
    user.ok(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1:18081:80",
        "-p",
        "80",
        IMAGE,
        "httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/www",
    )
    try:
        published = json.loads(user.ok("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"))["80/tcp"]
        ports = {binding["HostIp"]: int(binding["HostPort"]) for binding in published}
        assert ports["127.0.0.1"] == 18081
        assert ask(place, 18081)[0] == "a page from a container\n"
        assert ask(place, ports["0.0.0.0"], "10.7.0.2")[0] == "a page from a container\n"
        assert "refused" in ask(place, 18081, "10.7.0.2")[1]
        gateway = user.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", "web")
        assert "a page from a container" in fetch(user, gateway, ports["0.0.0.0"])
        taken = user.docker("run", "--rm", "-p", "18081:80", IMAGE, "true")
        assert taken.returncode == 125
        assert "port is already allocated" in taken.stderr
    finally:
        user.ok("rm", "-f", "web")
    assert "refused" in ask(place, 18081)[1]


def test_published_udp_port(user, place):
    echo = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\n"
        "while True: s.sendto(*s.recvfrom(100))"
    )
    host = [
        word for path in ("/usr", "/lib", "/lib64") for word in ("-v", f"{os.path.realpath(path)}:{path}:ro")
    ]
    user.ok("run", "-d", "--name", "udp", "-p", "18082:53/udp", *host, IMAGE, "/usr/bin/python3", "-c", echo)
    code = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5); s.connect(('127.0.0.1', 18082))\n"
        "for _ in range(20):\n"
        "    s.send(b'hello')\n"
        "    try: print(s.recv(100).decode()); break\n"
        "    except OSError: time.sleep(0.1)\n"
    )
    try:
        assert in_lab(place, sys.executable, "-c", code).stdout == "hello\n"
    finally:
        user.ok("rm", "-f", "udp")


def test_networks_of_ones_own_and_a_port_that_moves_between_them(user, place):
    user.ok("network", "create", "own-a")
    user.ok("network", "create", "--internal", "own-b")
    script = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhere' | nc -l -p 80; done"
    user.ok(
        "run", "-d", "--name", "two", "--network", "own-b", "-p", "18087-18090:80", IMAGE, "sh", "-c", script
    )
    try:
        assert user.ok("port", "two").strip() == ""  # an internal network publishes nothing
        user.ok("network", "connect", "own-a", "two")
        assert user.ok("port", "two").strip() == "80/tcp -> 0.0.0.0:18087"
        assert ask(place, 18087)[0] == "here"
        assert "1 packets received" in user.ok(
            "run", "--rm", "--network", "own-b", IMAGE, "ping", "-c1", "two"
        )
        user.ok("network", "disconnect", "own-a", "two")
        assert "refused" in ask(place, 18087)[1]
        user.ok("network", "connect", "bridge", "two")
        assert ask(place, 18087)[0] == "here"
    finally:
        user.ok("rm", "-f", "two")
        user.ok("network", "rm", "own-a", "own-b")


def test_names_on_a_network_of_ones_own(user):
    user.ok("network", "create", "named")
    try:
        user.ok(
            "run",
            "-d",
            "--name",
            "named-one",
            "--network",
            "named",
            "--network-alias",
            "first",
            IMAGE,
            "sleep",
            "999",
        )
        found = user.ok("run", "--rm", "--network", "named", IMAGE, "nslookup", "-type=a", "first")
        address = user.ok("inspect", "-f", "{{.NetworkSettings.Networks.named.IPAddress}}", "named-one")
        assert f"Address: {address.strip()}" in found
    finally:
        user.docker("rm", "-f", "named-one")
        user.ok("network", "rm", "named")


def test_privileged_port_is_refused_with_the_remedy(user):
    refused = user.docker("run", "--rm", "-p", "80:80", IMAGE, "true")
    assert refused.returncode == 125
    assert "ip_unprivileged_port_start" in refused.stderr
    assert user.ok("ps", "-aq") == ""


# The way out


@pytest.mark.parametrize("uplink", ["pasta", "slirp4netns"])
@pytest.mark.parametrize("host_loopback", [False, True])
def test_outbound_through_the_uplink(own, place, uplink, host_loopback):
    own.start(own.profile("out", uplink=f'"{uplink}"', host_loopback=str(host_loopback).lower()))
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    gateway = {"pasta": "10.7.0.1", "slirp4netns": "10.0.2.2"}[uplink]
    with Web(place, OUTSIDE) as outside, Web(place, "127.0.0.1") as loopback:
        assert fetch(own, OUTSIDE, outside.port) == "from the host"
        assert fetch(own, gateway, loopback.port) == ("from the host" if host_loopback else "")
    server = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}[uplink]
    assert f"nameserver {server}" in own.ok("run", "--rm", IMAGE, "cat", "/etc/resolv.conf")


# Who lives how long


@pytest.mark.row("R1")
def test_killed_daemon_loses_no_line_no_process_and_no_port(own, place):
    own.start()
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    own.ok("run", "-d", "--name", "count", IMAGE, "sh", "-c", script)
    own.ok("run", "-d", "--name", "web", "-p", "18083:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    before, keeper = pid_of(own, "count"), own.keeper()
    own.kill()
    time.sleep(0.5)
    assert ask(place, 18083)[0] == "a page from a container\n"
    own.start()
    assert (pid_of(own, "count"), own.keeper()) == (before, keeper)
    assert own.ok("exec", "count", "echo", "still") == "still"
    assert ask(place, 18083)[0] == "a page from a container\n"
    own.ok("kill", "count")
    assert own.ok("wait", "count") == "137"
    lines = own.ok("logs", "count").splitlines()
    assert lines == [str(number) for number in range(len(lines))]
    assert len(lines) > 20


def test_killed_keeper_is_replaced_around_the_containers_that_live(own, place):
    own.start()
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    own.ok("run", "-d", "--name", "web", "-p", "18084:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    before = pid_of(own, "web")
    own.kill()
    os.kill(own.keeper(), signal.SIGKILL)
    own.start()
    assert pid_of(own, "web") == before
    assert own.ok("exec", "web", "echo", "still") == "still"
    deadline = time.monotonic() + 10
    while ask(place, 18084)[0] != "a page from a container\n":
        assert time.monotonic() < deadline, own.log.read_text()
        time.sleep(0.1)
    with Web(place, OUTSIDE) as outside:
        assert fetch(own, OUTSIDE, outside.port) == "from the host"


def test_nothing_is_left(own, place):
    mounts = in_lab(place, "cat", "/proc/self/mounts").stdout
    own.start()
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    own.ok("run", "--rm", "-p", "18085:80", IMAGE, "true")
    own.ok("run", "-d", "--name", "stays", IMAGE, "sleep", "1000")
    own.stop()
    left = own.processes()
    assert any(
        words.startswith("barque-shim") for words in left.values()
    )  # the container goes on without a daemon
    own.start()
    own.ok("rm", "-f", "stays")
    own.ok("rmi", IMAGE)
    own.stop()
    assert own.wait_gone() == {}
    sockets = [path for path in own.run_dir.rglob("*") if path.is_socket()]
    assert sockets in ([], [own.socket])  # the API's own, which the next daemon takes over
    assert in_lab(place, "cat", "/proc/self/mounts").stdout == mounts


def test_a_container_that_ends_without_a_daemon_takes_the_keeper_with_it(own, place):
    own.start()
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    own.ok("run", "-d", "--name", "short", IMAGE, "sleep", "2")
    own.kill()
    assert own.wait_gone(15) == {}
    own.start()
    assert own.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "short") == "exited 0"


def test_two_users_do_not_meet(user, own, place):
    own.start()
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    for one, port in ((user, 18086), (own, 18087)):
        one.ok("run", "-d", "--name", "web", "-p", f"{port}:80", IMAGE, "sh", "-c",
               f"echo {one.uid} > /www/index.html; httpd -f -p 80 -h /www")  # fmt: skip
    subnet = "{{(index .IPAM.Config 0).Subnet}}"
    subnets = [one.ok("network", "inspect", "-f", subnet, "bridge") for one in (user, own)]
    assert subnets[0] == subnets[1]  # each has a network namespace of his own, so both may have the same
    for one, port in ((user, 18086), (own, 18087)):
        deadline = time.monotonic() + 10
        while ask(place, port)[0] != f"{one.uid}\n":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    taken = own.docker("run", "--rm", "-p", "18086:80", IMAGE, "true")
    assert "port is already allocated" in taken.stderr
    foreign = own.run("docker", "-H", f"unix://{user.socket}", "ps")
    assert "permission denied" in foreign.stderr
    for one in (user, own):
        one.ok("rm", "-f", "web")


# What is lacking


def test_root_is_told_to_use_another_profile(place):
    command = [
        sys.executable,
        "-m",
        "barque.engine.daemon",
        "--profile",
        "rootless",
        "--run-dir",
        str(place.base / "r"),
    ]
    done = subprocess.run(
        [*command, "--root", str(place.base / "d")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "for ordinary users" in done.stderr
    assert "--profile default" in done.stderr


def test_an_ordinary_user_is_told_to_use_this_profile(own):
    done = own.barqued("--profile", "default")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--profile rootless" in done.stderr


def test_no_user_namespaces(own):
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    limited = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", forbid, "sh"]
    done = own.run(*limited, sys.executable, "-m", "barque.engine.daemon")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "max_user_namespaces is 0" in done.stderr
    assert "sysctl -w user.max_user_namespaces" in done.stderr
    assert own.wait_gone() == {}


@pytest.mark.parametrize(
    ("cover", "words"),
    [
        (["/usr/bin/newuidmap"], "newuidmap not installed"),
        (["/etc/subuid"], "no range for bq7102 in /etc/subuid"),
    ],
)
def test_without_subordinate_ids_there_is_one_id(own, place, cover, words):
    own.start(cover=cover)
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    assert own.ok("run", "--rm", IMAGE, "sh", "-c", "cat /proc/self/uid_map").split() == [
        "0",
        str(own.uid),
        "1",
    ]
    assert own.ok("run", "--rm", "-t", IMAGE, "id", "-u") == "0"
    refused = own.docker("run", "--rm", "--user", "1000", IMAGE, "true")
    assert "user 1000 does not exist in the user namespace" in refused.stderr
    warnings = json.loads(own.ok("info", "--format", "{{json .}}"))["Warnings"]
    assert any("only one user id" in w and words in w for w in warnings)
    assert words in own.log.read_text()


def test_several_owners_without_subordinate_ids_are_refused_or_made_one(own, place):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, "busybox", Path("/bin/busybox").read_bytes(), 0o755)
        entry = tarfile.TarInfo("mail")
        entry.uid, entry.gid = 8, 12
        tar.addfile(entry)
    archive = place.base / "two.tar"
    archive.write_bytes(docker_archive(layer.getvalue(), "two:1"))
    own.start(cover=["/etc/subgid"])
    refused = own.docker("load", "-i", str(archive))
    assert refused.returncode != 0 or "error" in refused.stdout.lower()
    assert "/etc/subuid" in refused.stderr + refused.stdout
    assert "one_owner" in refused.stderr + refused.stdout
    own.stop()
    own.wait_gone()
    own.start(own.profile("one", overlay="one_owner = true"), cover=["/etc/subgid"])
    own.ok("load", "-i", str(archive))
    assert own.ok("run", "--rm", "two:1", "/busybox", "stat", "-c", "%u:%g", "/mail") == "0:0"


@pytest.mark.parametrize(
    ("cover", "words"),
    [
        (["/usr/bin/pasta", "/usr/bin/slirp4netns"], "neither is installed: pasta slirp4netns"),
        (["/dev/net/tun"], "/dev/net/tun is not there or not for this user"),
    ],
)
def test_without_an_uplink_all_else_works(own, place, cover, words):
    own.start(cover=cover)
    own.ok("load", "-i", str(place.base / "busybox.tar"))
    warnings = json.loads(own.ok("info", "--format", "{{json .}}"))["Warnings"]
    assert any("no way out of this host" in w and words in w for w in warnings)
    assert words in own.log.read_text()
    own.ok("run", "-d", "--name", "web", "-p", "18088:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    assert ask(place, 18088)[0] == "a page from a container\n"
    address = own.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web")
    assert "a page from a container" in fetch(own, address, 80)


def test_a_run_directory_of_somebody_else_is_refused(own, user):
    done = own.barqued("--run-dir", str(user.run_dir / "barque"), "--root", str(own.home / "d"))
    assert done.returncode == 1
    stolen = own.home / "stolen"
    stolen.mkdir()
    done = own.barqued("--run-dir", str(stolen), "--root", str(own.home / "d"))
    assert "not a directory of this user" in done.stderr


def test_the_command_line_starts_the_daemon(own, place):
    barque = str(Path(sys.executable).with_name("barque"))
    if not os.path.exists(barque):
        pytest.skip("barque is not installed beside this interpreter")
    try:
        done = own.run(barque, "--profile", "rootless", "info", DOCKER_HOST="")
        assert done.returncode == 0, done.stderr
        assert "rootless" in done.stdout
        assert "containers get no cgroups" in done.stderr
        assert own.socket.is_socket()
    finally:
        for pid, words in own.processes().items():
            if "barqued" in words:
                os.kill(pid, signal.SIGTERM)
    assert own.wait_gone() == {}
