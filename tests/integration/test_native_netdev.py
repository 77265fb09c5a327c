"""`linux.netDevices`: interfaces of the host in a container's network namespace. The "host" is a namespace of the test's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest
from native_bundle import import_paths, make_rootfs, write_config

from barque.testing import need

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


class Host:
    """A network namespace in which the runtime runs."""

    def __init__(self):
        self.name = f"bq{os.getpid()}"
        # not `ip netns exec`, which mounts a /sys without cgroups
        self.before = ["nsenter", f"--net=/run/netns/{self.name}"]
        self.ip("netns", "add", self.name, here=True)

    def ip(self, *words, here=False):
        command = [*([] if here else self.before), "ip", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def links(self):
        return {each["ifname"]: each for each in json.loads(self.ip("-json", "addr", "show") or "[]")}

    def close(self):
        self.ip("netns", "del", self.name, here=True)


@pytest.fixture
def host():
    need.tool("ip")
    host = Host()
    host.ip("link", "add", "bridge0", "type", "bridge")
    for number, name in enumerate(("bq0", "bq1", "bq2")):
        host.ip("link", "add", name, "type", "veth", "peer", "name", f"peer{number}")
        host.ip("addr", "add", f"10.20.{number}.1/24", "dev", name)
    host.ip("addr", "add", "10.20.0.9", "peer", "10.30.0.1/32", "dev", "bq0", "metric", "77")
    host.ip("addr", "add", "169.254.7.7/16", "dev", "bq0", "scope", "link")
    host.ip("-6", "addr", "add", "fd00::5/64", "dev", "bq0", "nodad")
    host.ip("link", "set", "bq0", "mtu", "1400", "address", "02:00:00:00:00:77", "up")
    yield host
    host.close()


def run(box, host, devices, script="ip addr", change=None):
    config = box.config("sh", "-c", script)
    config["linux"]["netDevices"] = devices
    if change:
        change(config)
    write_config(box.bundle, config)
    return box.call("run", "-b", str(box.bundle), "box", before=host.before)


def test_interface_moves_with_name_and_addresses_and_is_up(box, host):
    result = run(box, host, {"bq0": {"name": "eth0"}, "bq1": {}}, "ip addr; sleep 0.1")
    assert result.returncode == 0, result.stderr
    blocks = {m[1]: m[0] for m in re.finditer(r"^\d+: (\w+).*(?:\n  .*)*", result.stdout, re.M)}
    assert set(blocks) == {"lo", "eth0", "bq1"}
    assert "UP" in blocks["eth0"].split("\n")[0]
    assert "mtu 1400" in blocks["eth0"]
    assert "02:00:00:00:00:77" in blocks["eth0"]
    assert "inet 10.20.0.1/24" in blocks["eth0"]
    assert "inet 10.20.0.9 peer 10.30.0.1/32" in blocks["eth0"]
    assert "inet6 fd00::5/64 scope global" in blocks["eth0"]
    assert "169.254.7.7" not in blocks["eth0"]
    assert "inet 10.20.1.1/24" in blocks["bq1"]
    assert "UP" in blocks["bq1"].split("\n")[0]
    # the kernel destroys virtual interfaces with their namespace, when it comes to that
    for _ in range(100):
        if "peer1" not in host.links() and "peer0" not in host.links():
            break
        time.sleep(0.05)
    assert set(host.links()) == {"lo", "bridge0", "bq2", "peer2"}


def test_sysctl_of_the_new_name_applies(box, host):
    def change(config):
        config["linux"]["sysctl"]["net.ipv4.conf.eth7.rp_filter"] = "2"

    result = run(box, host, {"bq0": {"name": "eth7"}}, "cat /proc/sys/net/ipv4/conf/eth7/rp_filter", change)
    assert result.stdout == "2\n", result.stderr


def test_template_gives_the_kernel_the_choice(box, host):
    result = run(box, host, {"bq1": {"name": "net%d"}, "bq2": {"name": "net%d"}}, "ip -o link")
    assert result.returncode == 0, result.stderr
    assert {"net0", "net1"} == set(re.findall(r"\bnet\d\b", result.stdout))


def test_namespace_by_path(box, host):
    inner = Host.__new__(Host)
    inner.name = host.name + "b"
    inner.before = ["nsenter", f"--net=/run/netns/{inner.name}"]
    inner.ip("netns", "add", inner.name, here=True)
    try:

        def change(config):
            for each in config["linux"]["namespaces"]:
                if each["type"] == "network":
                    each["path"] = f"/run/netns/{inner.name}"

        result = run(box, host, {"bq1": {"name": "eth0"}}, "ip -o addr show eth0", change)
        assert "10.20.1.1/24" in result.stdout, result.stderr
        assert "eth0" in inner.links(), "it stays: the namespace is not the container's to end"
    finally:
        inner.close()


def untouched(host):
    links = host.links()
    assert set(links) == {"lo", "bridge0", "bq0", "bq1", "bq2", "peer0", "peer1", "peer2"}
    addresses = {(each["local"], each["prefixlen"]) for each in links["bq0"]["addr_info"]}
    assert {("10.20.0.1", 24), ("10.20.0.9", 32), ("fd00::5", 64)} <= addresses
    assert "UP" in links["bq0"]["flags"]
    assert "UP" not in links["bq1"]["flags"]
    assert ("10.20.1.1", 24) in {(each["local"], each["prefixlen"]) for each in links["bq1"]["addr_info"]}


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({"bq0": {}, "bq9": {}}, "linux.netDevices.bq9: no such network interface"),
        ({"bq0": {"name": "lo"}}, "linux.netDevices.bq0: the container has an interface lo already"),
        ({"bq0": {}, "lo": {"name": "lo1"}}, "linux.netDevices.lo: "),
        ({"bq0": {}, "bq1": {}, "bridge0": {}}, "linux.netDevices.bridge0: "),
        ({"bq0": {"name": "a/b"}}, "linux.netDevices.bq0.name"),
        ({"bq0": {"name": "x" * 16}}, "linux.netDevices.bq0.name"),
        ({"bq0": {"name": ".."}}, "linux.netDevices.bq0.name"),
        ({"bq0": {"name": "a b"}}, "linux.netDevices.bq0.name"),
        ({"bq0": {"name": "%s"}}, "linux.netDevices.bq0.name"),
        ({"bq0": {"name": "%d%d"}}, "linux.netDevices.bq0.name"),
        ({"bq%d": {"name": "eth0"}}, "linux.netDevices.bq%d"),
        ({"bq0": {"name": "e"}, "bq1": {"name": "e"}}, "same name"),
    ],
)
def test_what_cannot_be_moved_is_named_and_nothing_has_changed(box, host, devices, words):
    result = run(box, host, devices)
    assert result.returncode == 1
    assert words in result.stderr
    assert not (box.root / "box").exists()
    untouched(host)


def test_network_namespace_of_its_own_is_needed(box, host):
    def change(config):
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != "network"
        ]
        config["linux"]["sysctl"] = {}

    result = run(box, host, {"bq0": {}}, change=change)
    assert "linux.netDevices: unable to move network devices without a private NET namespace" in result.stderr
    untouched(host)


def test_path_of_the_runtimes_own_namespace_is_refused(box, host):
    def change(config):
        config["linux"]["sysctl"] = {}
        for each in config["linux"]["namespaces"]:
            if each["type"] == "network":
                each["path"] = f"/run/netns/{host.name}"

    result = run(box, host, {"bq0": {}}, change=change)
    assert "is the runtime's own" in result.stderr
    untouched(host)


def test_container_that_fails_later_gives_the_interfaces_back(box, host):
    def change(config):
        config["process"]["cwd"] = "/etc/passwd"

    result = run(box, host, {"bq0": {"name": "eth0"}, "bq1": {"name": "eth1"}}, change=change)
    assert result.returncode == 1
    untouched(host)


def test_without_devices_nothing_of_it_is_loaded(box):
    """A module that few containers use costs the others nothing."""
    script = (
        "import sys; from barque_runtime_native import create, execute; "
        "from barque_runtime_native.commands import create as command; "
        "print(sorted(m for m in sys.modules if m.startswith('barque_runtime_native.') and m.rpartition('.')[2] in "
        "('net_devices', 'rtnetlink', 'intel_rdt', 'memory_policy', 'notify', 'security_label', 'scheduling', "
        "'cpu_affinity', 'late_birth', 'verdict')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": import_paths()},
    )
    assert result.stdout == "[]\n", result.stderr
