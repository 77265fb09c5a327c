"""What the other fields of `linux` do: namespaces, ids, devices, kernel parameters, masked paths, clocks, personality."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from native_fields import shows, shows_each

pytestmark = pytest.mark.root

FILES = {
    "mount": "mnt", "pid": "pid", "network": "net", "uts": "uts", "ipc": "ipc", "user": "user", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip


def give_to(rootfs, owner):
    """A user namespace's root needs to own its files."""
    for path in (rootfs, *rootfs.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)
    rootfs.parent.chmod(0o755)


def with_user_namespace(config, rootfs):
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["sysctl"] = {}
    give_to(rootfs, 100000)
    return config


@shows_each({f"linux.namespaces[].type={kind}": file for kind, file in FILES.items()})
def test_new_namespace(box, rootfs, key, case):
    config = box.config("readlink", f"/proc/self/ns/{case}")
    kind = key.partition("=")[2]
    if kind == "user":
        with_user_namespace(config, rootfs)
    elif kind in ("cgroup", "time"):
        config["linux"]["namespaces"].append({"type": kind})
    result = box.run(config)
    assert result.stdout.startswith(f"{case}:["), result
    assert result.stdout.strip() != os.readlink(f"/proc/self/ns/{case}")
    if kind not in ("mount", "user"):
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != kind
        ]
        config["linux"]["sysctl"] = {}
        if kind == "uts":
            del config["hostname"]
        if kind == "ipc":
            config["mounts"] = [each for each in config["mounts"] if each["type"] != "mqueue"]
        assert box.run(config).stdout.strip() == os.readlink(f"/proc/self/ns/{case}")


@pytest.fixture
def holder():
    """A process in a namespace of each kind but user and mount."""
    process = subprocess.Popen(["unshare", "-n", "-u", "-i", "-p", "-f", "-C", "-T", "sleep", "1000"])
    try:
        file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (children := file.read_text().split()):
            time.sleep(0.01)
        yield int(children[0])
    finally:
        for pid in children:
            os.kill(int(pid), 9)
        process.wait()


@shows("linux.namespaces[].path")
@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in ("mount", "user")])
def test_namespace_by_path(box, holder, kind):
    file = FILES[kind]
    config = box.config("readlink", f"/proc/self/ns/{file}")
    others = [each for each in config["linux"]["namespaces"] if each["type"] != kind]
    config["linux"]["namespaces"] = [*others, {"type": kind, "path": f"/proc/{holder}/ns/{file}"}]
    config["linux"]["sysctl"] = {}
    if kind == "uts":
        del config["hostname"]
    result = box.run(config)
    assert result.stdout.strip() == os.readlink(f"/proc/{holder}/ns/{file}"), result


@shows(
    *(
        f"linux.{kind}Mappings[].{field}"
        for kind in ("uid", "gid")
        for field in ("containerID", "hostID", "size")
    )
)
def test_id_mappings(box, rootfs):
    config = with_user_namespace(box.config("cat", "/proc/self/uid_map", "/proc/self/gid_map"), rootfs)
    config["linux"]["gidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 10},
        {"containerID": 10, "hostID": 200000, "size": 7},
    ]
    lines = [line.split() for line in box.run(config).stdout.splitlines()]
    assert lines == [["0", "100000", "65536"], ["0", "100000", "10"], ["10", "200000", "7"]]


@shows(
    *(f"linux.devices[].{field}" for field in ("type", "path", "fileMode", "major", "minor", "uid", "gid"))
)
@shows_each(
    {
        "linux.devices[].type=c": "character special file",
        "linux.devices[].type=u": "character special file",
        "linux.devices[].type=b": "block special file",
        "linux.devices[].type=p": "fifo",
    }
)
def test_device(box, key, case):
    config = box.config("stat", "-c", "%F|%a %u %g %t:%T", "/dev/deep/node")
    device = {"path": "/dev/deep/node", "type": key.partition("=")[2], "fileMode": 0o640, "uid": 3, "gid": 4}
    if device["type"] != "p":
        device.update(major=7, minor=9)
    config["linux"]["devices"] = [device]
    numbers = "0:0" if device["type"] == "p" else "7:9"
    assert box.run(config).stdout == f"{case}|640 3 4 {numbers}\n"


@shows("linux.sysctl.*")
def test_sysctl(box):
    config = box.config("cat", "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/msgmax")
    config["linux"]["sysctl"] = {"net.core.somaxconn": "77", "kernel.msgmax": "4444"}
    assert box.run(config).stdout.split() == ["77", "4444"]


@shows("linux.maskedPaths[]", "linux.readonlyPaths[]")
def test_masked_and_read_only_paths(box, rootfs):
    (rootfs / "etc/secret").write_text("secret")
    (rootfs / "etc/dir").mkdir()
    (rootfs / "etc/dir/secret").write_text("secret")
    config = box.config("sh", "-c", "cat /etc/secret; ls /etc/dir; touch /tmp/x; touch /root/x && ls /root")
    config["linux"].update(
        maskedPaths=["/etc/secret", "/etc/dir", "/not/there"], readonlyPaths=["/tmp", "/not/there"]
    )
    result = box.run(config)
    assert result.stdout == "x\n", result
    assert "Read-only" in result.stderr


@shows_each({"linux.personality.domain=LINUX": "x86_64", "linux.personality.domain=LINUX32": "i686"})
def test_personality(box, key, case):
    config = box.config("busybox", "uname", "-m")
    config["linux"]["personality"] = {"domain": key.partition("=")[2]}
    machine = os.uname().machine
    assert box.run(config).stdout.strip() == (case if machine == "x86_64" else machine)


@shows_each(
    [
        f"linux.timeOffsets.{clock}.{unit}"
        for clock in ("boottime", "monotonic")
        for unit in ("secs", "nanosecs")
    ]
)
def test_time_offsets(box, key):
    _, _, clock, unit = key.split(".")
    config = box.config("cat", "/proc/self/timens_offsets", "/proc/uptime")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {clock: {unit: 86400}}
    lines = box.run(config).stdout.splitlines()
    offsets = {words[0]: tuple(words[1:]) for words in map(str.split, lines[:2])}
    assert offsets[clock] == (("86400", "0") if unit == "secs" else ("0", "86400"))
    ahead = float(lines[2].split()[0]) - float(Path("/proc/uptime").read_text().split()[0])
    assert (ahead > 86000) is (clock == "boottime" and unit == "secs")


# What /proc/PID/numa_maps calls them (mm/mempolicy.c); the kernel takes nodes for some of them only.
POLICIES = {
    "MPOL_DEFAULT": ("", "default"),
    "MPOL_BIND": ("0", "bind:0"),
    "MPOL_INTERLEAVE": ("0", "interleave:0"),
    "MPOL_WEIGHTED_INTERLEAVE": ("0", "weighted interleave:0"),
    "MPOL_PREFERRED": ("0", "prefer:0"),
    "MPOL_PREFERRED_MANY": ("0", "prefer (many):0"),
    "MPOL_LOCAL": ("", "local"),
}


@shows("linux.memoryPolicy.mode")
@shows_each({f"linux.memoryPolicy.mode={mode}": case for mode, case in POLICIES.items()})
def test_memory_policy(box, key, case):
    nodes, shown = case
    config = box.config("cat", "/proc/self/numa_maps")
    config["linux"]["memoryPolicy"] = {"mode": key.partition("=")[2], **({"nodes": nodes} if nodes else {})}
    result = box.run(config)
    if not Path("/proc/self/numa_maps").exists():
        assert "linux.memoryPolicy" in result.stderr
    else:
        assert {line.split(" ", 1)[1].startswith(shown) for line in result.stdout.splitlines()} == {True}, (
            result
        )


@shows("linux.memoryPolicy.flags[]")
@shows_each(
    {
        "linux.memoryPolicy.flags[]=MPOL_F_NUMA_BALANCING": "bind=balancing:0",
        "linux.memoryPolicy.flags[]=MPOL_F_RELATIVE_NODES": "bind=relative:0",
        "linux.memoryPolicy.flags[]=MPOL_F_STATIC_NODES": "bind=static:0",
    }
)
def test_memory_policy_flag(box, key, case):
    config = box.config("cat", "/proc/self/numa_maps")
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [key.partition("=")[2]]}
    result = box.run(config)
    if not Path("/proc/self/numa_maps").exists():
        assert "linux.memoryPolicy" in result.stderr
    else:
        assert f" {case}" in result.stdout, result
