"""Namespaces of the native runtime: new ones and those of somebody else, in create and in exec."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from native_bundle import mount

pytestmark = pytest.mark.root

FILES = {"network": "net", "mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup",
         "time": "time", "user": "user"}  # fmt: skip
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def holder():
    """A process in new namespaces; called with options of unshare(1). A user namespace gets the ids of `IDS`."""
    made = []

    def start(*options):
        process = subprocess.Popen(
            ["unshare", *options, "sh", "-c", "echo ready; exec sleep 1000"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        made.append(process)
        assert process.stdout.readline() == "ready\n"
        if "--user" in options:
            for file in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{file}").write_text("0 100000 65536\n")
        return process.pid

    yield start
    for process in made:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


def path_of(pid, kind):
    return f"/proc/{pid}/ns/{FILES[kind]}"


def share(config, pid, *kinds):
    """`kinds` become those of `pid`."""
    spaces = [each for each in config["linux"]["namespaces"] if each["type"] not in kinds]
    config["linux"]["namespaces"] = spaces + [{"type": kind, "path": path_of(pid, kind)} for kind in kinds]
    if "uts" in kinds:
        del config["hostname"]
    config["linux"]["sysctl"] = {}
    return config


def give(rootfs, uid):
    for path in (rootfs, *rootfs.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def executed(box, id):
    """The pid of a process executed in container `id`."""
    pid_file = box.directory / "exec-pid"
    box.detached("exec", "-d", "--pid-file", str(pid_file), id, "sleep", "1000")
    return int(pid_file.read_text())


def delete(box, *ids):
    for id in ids:
        assert box.call("delete", "-f", id).returncode == 0


# Of the root's own making


@pytest.mark.parametrize("kinds", [("network", "ipc", "uts"), ("cgroup",), ("time",), ("pid",)])
def test_joining_by_path(box, kinds):
    first = box.config("sleep", "1000")
    first["linux"]["namespaces"] += [{"type": "cgroup"}, {"type": "time"}]
    one = box.start(config=first, id="first")
    second = share(box.config("sleep", "1000"), one, *kinds)
    second["linux"]["cgroupsPath"] = f"{box.cgroup}/second"
    two = box.start(config=second, id="second")
    three = executed(box, "second")
    for kind in kinds:
        assert (
            namespace(one, kind) == namespace(two, kind) == namespace(three, kind) != namespace("self", kind)
        )
    assert namespace(one, "mount") != namespace(two, "mount") == namespace(three, "mount")
    delete(box, "second", "first")


def test_new_time_namespace_has_its_offsets(box):
    config = box.config("sh", "-c", "cat /proc/uptime /proc/self/timens_offsets")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000_000}}
    out = box.run(config).stdout
    assert float(out.split()[0]) > 1_000_000_000
    assert "boottime 1000000000" in " ".join(out.split())


@pytest.mark.parametrize(("kind", "path"), [("network", "/proc/self/ns/uts"), ("ipc", "/etc/passwd")])
def test_path_of_another_kind_is_refused_by_name(box, kind, path):
    config = box.config("true")
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != kind
    ] + [{"type": kind, "path": path}]
    config["linux"]["sysctl"] = {}
    result = box.run(config)
    assert result.returncode == 1
    assert f"{kind} namespace {path}: is not a {kind} namespace" in result.stderr


# User namespaces


def user_config(box, *args):
    config = box.config(*args)
    config["linux"]["sysctl"] = {}
    return config


def with_ids(config, mappings=IDS):
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"].update(uidMappings=mappings, gidMappings=mappings)
    return config


@pytest.mark.parametrize("mappings", [None, IDS])
def test_joining_a_user_namespace(box, rootfs, holder, tmp_path, mappings):
    """Everything new belongs to the joined one; binds and devices work; exec joins too."""
    give(rootfs, 100000)
    (tmp_path / "volume").mkdir(mode=0o700)
    os.chown(tmp_path / "volume", 100000, 100000)
    owner = holder("--user")
    config = share(user_config(box, "sleep", "1000"), owner, "user")
    config["mounts"].append(mount("/v", "bind", str(tmp_path / "volume"), "rbind"))
    if mappings:
        config["linux"].update(uidMappings=mappings, gidMappings=mappings)
    pid = box.start(config=config)
    other = executed(box, "box")
    for kind in ("user", "mount", "pid", "network"):
        assert namespace(pid, kind) == namespace(other, kind) != namespace("self", kind)
    assert namespace(pid, "user") == namespace(owner, "user")
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    out = box.call(
        "exec",
        "box",
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; echo x > /v/f; echo y > /dev/null; hostname",
    )
    assert out.stdout.split() == ["0", "0", "100000", "65536", "box"], out.stderr
    assert os.stat(tmp_path / "volume/f").st_uid == 100000


@pytest.mark.row("S4")
def test_nobody_in_a_joined_user_namespace_can_look_into_init(box, rootfs, holder):
    """Root of it waits in the container's pid namespace for the runtime's processes."""
    give(rootfs, 100000)
    look = (
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
        "for f in $p/fd/* $p/mem $p/environ; do (: < $f) 2>/dev/null && readlink $f >> /tmp/got; done; done; done"
    )
    config = with_ids(user_config(box, "sh", "-c", look))
    for names in config["process"]["capabilities"].values():
        names.append("CAP_SYS_PTRACE")
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    first = box.start(config=config, id="first")
    second = share(user_config(box, "true"), first, "user", "pid")
    second["linux"]["cgroupsPath"] = f"{box.cgroup}/second"
    for _ in range(10):
        result = box.run(second)
        assert result.returncode == 0, result.stderr
    got = box.call("exec", "first", "sh", "-c", "cat /tmp/got 2>/dev/null; true").stdout
    for word in (str(box.directory / "state"), "cgroup", "python", "ns:"):
        assert word not in got
    delete(box, "first")


def test_joining_a_user_namespace_with_other_mappings_is_refused(box, rootfs, holder):
    owner = holder("--user")
    config = share(user_config(box, "true"), owner, "user")
    other = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    config["linux"].update(uidMappings=other, gidMappings=other)
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.uidMappings" in result.stderr
    assert "both namespace path and non-matching mapping" in result.stderr


def test_user_and_network_namespace_of_a_pod(box, rootfs, holder):
    """The network namespace belongs to the user namespace: it can be entered only after that."""
    give(rootfs, 100000)
    owner = holder("--user", "--net")
    config = share(user_config(box, "sh", "-c", "cat /proc/self/uid_map"), owner, "user", "network")
    result = box.run(config)
    assert result.stdout.split() == ["0", "100000", "65536"], result.stderr


def test_time_offsets_in_a_joined_user_namespace(box, rootfs, holder):
    give(rootfs, 100000)
    owner = holder("--user")
    config = share(user_config(box, "cat", "/proc/self/timens_offsets"), owner, "user")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 4242}}
    result = box.run(config)
    assert "monotonic 4242 0" in " ".join(result.stdout.split()), result.stderr


def test_oom_score_below_the_runtimes_in_a_user_namespace(box, rootfs):
    """Root of the container may not lower it; the runtime may, before."""
    give(rootfs, 100000)
    config = with_ids(user_config(box, "cat", "/proc/self/oom_score_adj"))
    config["process"]["oomScoreAdj"] = 500
    assert box.run(config).stdout == "500\n"


@pytest.mark.row("S16")
@pytest.mark.parametrize(
    ("mappings", "words"),
    [
        ([*IDS, {"containerID": 100, "hostID": 400000, "size": 1}], "linux.uidMappings[1].containerID: the range overlaps"),
        ([*IDS, {"containerID": 65536, "hostID": 165535, "size": 1}], "linux.uidMappings[1].hostID: the range overlaps"),
        ([{"containerID": 0, "hostID": 100000, "size": 0}], "linux.uidMappings[0].size"),
        ([], "no namespace path to join or mappings"),
        ([{"containerID": i, "hostID": 100000 + i, "size": 1} for i in range(341)], "at most 340"),
        ([{"containerID": 0, "hostID": 2**32 - 2, "size": 2}], "beyond the highest id"),
    ],
)  # fmt: skip
def test_mappings_that_cannot_be_are_refused_before_anything_is_done(box, mappings, words):
    result = box.run(with_ids(user_config(box, "true"), mappings))
    assert result.returncode == 1
    assert words in result.stderr
    assert not (box.root / "box").exists()


@pytest.mark.row("S16")
def test_root_of_a_user_namespace_cannot_alter_what_is_the_hosts(box, rootfs, tmp_path):
    """Not a file of the host's root, nor the container's state, even when it is shown to the container."""
    give(rootfs, 100000)
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    secret.chmod(0o644)
    config = with_ids(
        user_config(box, "sh", "-c", "echo x > /s; chmod 777 /s; mount -o remount,rw /s; cat /s")
    )
    config["mounts"].append(mount("/s", "bind", str(secret), "bind"))
    result = box.run(config)
    assert result.stdout == "untouched"
    assert secret.read_text() == "untouched"
    assert secret.stat().st_mode & 0o777 == 0o644


# Mount namespaces


def test_joining_a_mount_namespace(box, rootfs, holder, tmp_path):
    """The root file system is set up in it: a path there may be one that the host does not have."""
    owner = holder("--mount", "--propagation", "private")
    inside = tmp_path / "inside"
    inside.mkdir()
    subprocess.run(["nsenter", "-t", str(owner), "-m", "mount", "--bind", rootfs, inside], check=True)
    config = share(box.config("sleep", "1000"), owner, "mount")
    config["root"]["path"] = str(inside)
    before = mounts_below(tmp_path)
    pid = box.start(config=config)
    assert namespace(pid, "mount") == namespace(owner, "mount") != namespace("self", "mount")
    assert box.call("exec", "box", "cat", "/etc/passwd").stdout == (rootfs / "etc/passwd").read_text()
    assert mounts_below(tmp_path) == before


def mounts_below(directory):
    """Of this process's mounts those that only this test can have made."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]


def test_root_that_is_not_in_a_joined_mount_namespace_is_named(box, holder, tmp_path):
    owner = holder("--mount")
    config = share(box.config("true"), owner, "mount")
    config["root"]["path"] = str(tmp_path / "nowhere")
    result = box.run(config)
    assert result.returncode == 1
    assert f"root {tmp_path}/nowhere: no such file or directory" in result.stderr


def test_no_mount_namespace_is_refused(box):
    config = box.config("true")
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != "mount"
    ]
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.namespaces must hold a mount namespace" in result.stderr
