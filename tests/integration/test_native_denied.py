"""What a container cannot do to the host: by privilege (S13), through its cgroups (S14), with a user namespace (S16)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from native_bundle import mount

pytestmark = pytest.mark.root

HOST_ID = 100000


def run_or_exec(box, how, config, script):
    """The result of a shell script as the container's first process, or as a further one."""
    if how == "run":
        config["process"]["args"] = ["sh", "-c", script]
        return box.run(config)
    config["process"]["args"] = ["sleep", "1000"]
    box.start(config=config)
    return box.call("exec", "box", "sh", "-c", script)


# S13

ATTACKS = {
    "unshare mount": "unshare -m true",
    "unshare user": "unshare -U true",
    "unshare net": "unshare -n true",
    "unshare pid": "unshare -p true",
    "unshare ipc": "unshare -i true",
    "mount tmpfs": "mount -t tmpfs x /tmp",
    "mount bind": "mount --bind /etc /tmp",
    "mount proc": "mount -t proc x /tmp",
    "remount": "mount -o remount,rw /sys",
    "umount": "umount /proc/kcore || umount /proc/sys || umount /sys",
    "mount cgroup": "mkdir -p /tmp/c && mount -t cgroup -o memory x /tmp/c",
    "mount rdma cgroup": "mkdir -p /tmp/c && mount -t cgroup -o rdma,net_prio x /tmp/c",
    "mount cgroup2": "mkdir -p /tmp/c && mount -t cgroup2 x /tmp/c",
    "hostname": "hostname other",
    "device": "mknod /tmp/disk b 254 0 && dd if=/tmp/disk of=/dev/null bs=1 count=1",
    "chroot out": "mkdir -p /tmp/r && chroot /tmp/r /bin/true || cd /proc/1/root/..; cat /proc/1/root/../work/main/pyproject.toml",
    "sysrq": "echo b >/proc/sysrq-trigger",
    "core pattern": "echo '|/bin/sh' >/proc/sys/kernel/core_pattern",
    "modprobe": "echo /bin/sh >/proc/sys/kernel/modprobe",
    "uevent helper": "echo /bin/sh >/sys/kernel/uevent_helper",
    "binfmt": "echo :x:M::x::/bin/sh: >/proc/sys/fs/binfmt_misc/register",
}
DENIED = (
    "not permitted",
    "denied",
    "Read-only file system",
    "nonexistent directory",
    "No such file",
    "can't",
)


@pytest.mark.row("S13")
@pytest.mark.parametrize("how", ["run", "exec"])
@pytest.mark.parametrize("name", ATTACKS)
def test_default_container_is_denied(box, how, name):
    result = run_or_exec(box, how, box.config(), ATTACKS[name])
    assert result.returncode not in (0, 255), result
    assert any(word in result.stderr for word in DENIED), result


RELEASE_AGENT = """
for d in /sys/fs/cgroup/* /sys/fs/cgroup; do
  for f in release_agent notify_on_release cgroup.procs tasks; do
    [ -e $d/$f ] || continue
    (echo /attack >$d/$f) 2>/dev/null && echo WROTE $d/$f
    (echo 1 >$d/$f) 2>/dev/null && echo WROTE $d/$f
  done
  # the directory above the hierarchies is a tmpfs of the container's own
  [ -e $d/cgroup.procs ] && mkdir $d/new 2>/dev/null && echo MADE $d/new
done
true
"""


@pytest.mark.row("S13")
@pytest.mark.row("S14")
@pytest.mark.parametrize("how", ["run", "exec"])
@pytest.mark.parametrize("namespace", [False, True], ids=["host-cgroup-ns", "own-cgroup-ns"])
def test_release_agent_and_cgroups_cannot_be_written(box, how, namespace):
    """CVE-2022-0492: with the default profile every file of every hierarchy is read-only, and none can be mounted."""
    config = box.config()
    if namespace:
        config["linux"]["namespaces"].append({"type": "cgroup"})
    result = run_or_exec(box, how, config, RELEASE_AGENT)
    assert result.returncode == 0, result
    assert result.stdout == ""


@pytest.mark.row("S13")
def test_exec_has_the_seccomp_filter_even_with_the_capability(box):
    """CAP_SYS_ADMIN would be enough to mount: what says no to an exec is the container's filter."""
    box.start("sleep", "1000")
    words = ("exec", "--cap", "CAP_SYS_ADMIN", "box", "mount", "-t", "tmpfs", "x", "/tmp")
    result = box.call(*words)
    assert result.returncode != 0
    assert "not permitted" in result.stderr or "denied" in result.stderr
    assert box.call("delete", "-f", "box").returncode == 0
    config = box.config("sleep", "1000")
    del config["linux"]["seccomp"]
    box.start(config=config)
    assert box.call(*words).returncode == 0


# S14


@pytest.mark.row("S14")
@pytest.mark.parametrize(
    "path",
    [
        "/../x",
        "../x",
        "a/../../x",
        "/a/../../../x",
        "..",
        "/..",
        "/",
        "//",
        "system.slice/../..",
        "../../sys",
    ],
)
def test_cgroup_path_that_climbs_is_refused(box, path):
    config = box.config("true")
    config["linux"]["cgroupsPath"] = path
    before = {each for each in Path("/sys/fs/cgroup").glob("*/*") if each.is_dir()}
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.cgroupsPath" in result.stderr
    made = {each for each in Path("/sys/fs/cgroup").glob("*/*") if each.is_dir()} - before
    assert not [each for each in made if each.name in ("x", "sys")]


def user_namespace(box, rootfs, *args):
    """A container whose root is the host's user 100000."""
    config = box.config(*args)
    mapping = [{"containerID": 0, "hostID": HOST_ID, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping, sysctl={})
    config["linux"]["namespaces"].append({"type": "user"})
    # all that a capability of this user namespace's could do is part of the question
    for path in (rootfs, *rootfs.rglob("*")):
        os.chown(path, HOST_ID, HOST_ID, follow_symlinks=False)
    rootfs.parent.chmod(0o755)
    return config


def give_all_capabilities(config):
    del config["process"]["capabilities"]
    for key in ("seccomp", "maskedPaths", "readonlyPaths"):
        del config["linux"][key]
    return config


def cgroup_state(box):
    """Directories of the container's cgroups and their owners, and what its limits are."""
    found = {}
    for top in Path("/sys/fs/cgroup").glob(f"*{box.cgroup}"):
        for path in (top, *top.rglob("*")):
            info = path.stat()
            found[str(path)] = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
            if path.name in (
                "memory.limit_in_bytes",
                "pids.max",
                "cpu.shares",
                "cpuset.cpus",
                "devices.list",
            ):
                found[str(path), "value"] = path.read_text()
    return found


@pytest.mark.row("S14")
@pytest.mark.row("S16")
@pytest.mark.parametrize("how", ["run", "exec"])
@pytest.mark.parametrize("namespace", [False, True], ids=["host-cgroup-ns", "own-cgroup-ns"])
@pytest.mark.parametrize("writable", [False, True], ids=["ro", "rw"])
def test_user_namespace_cannot_write_the_hosts_cgroup(box, rootfs, how, namespace, writable):
    """CVE-2023-25809: with all capabilities of its user namespace, no filter, and the cgroups mounted writable too."""
    config = give_all_capabilities(user_namespace(box, rootfs))
    if namespace:
        config["linux"]["namespaces"].append({"type": "cgroup"})
    for each in config["mounts"]:
        if each["type"] == "cgroup" and writable:
            each["options"] = ["nosuid", "noexec", "nodev", "rw"]
    script = (
        RELEASE_AGENT.replace("\ntrue\n", "\n")
        + "for f in memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares devices/devices.allow; do "
        "(echo a >/sys/fs/cgroup/$f) 2>/dev/null && echo WROTE $f; chmod 666 /sys/fs/cgroup/$f 2>/dev/null && echo CHMOD $f; "
        "chown 0 /sys/fs/cgroup/$f 2>/dev/null && echo CHOWN $f; done; "
        "mount -o remount,bind,rw /sys/fs/cgroup/memory 2>/dev/null; mkdir /sys/fs/cgroup/memory/new 2>/dev/null && echo MADE; true"
    )
    config["process"]["args"] = ["sleep", "1000"]
    box.start(config=config)
    before = cgroup_state(box)
    if how == "exec":
        result = box.call("exec", "box", "sh", "-c", script)
    else:
        box.call("delete", "-f", "box")
        config["process"]["args"] = ["sh", "-c", f"({script}) >/out 2>&1; sleep 1000"]
        box.start(config=config)
        for _ in range(100):
            result = box.call("exec", "box", "sh", "-c", "grep -q . /proc/1/status; cat /out; pidof sleep")
            if result.returncode == 0:
                break
        result.stdout = "".join(line for line in result.stdout.splitlines(True) if not line.strip().isdigit())
    assert result.stdout == "", result
    after = cgroup_state(box)
    assert after == before


# S16


@pytest.fixture
def host_files(tmp_path):
    """What belongs to root on the host, and is bound into the container writable."""
    path = tmp_path / "host"
    (path / "closed").mkdir(parents=True)
    for name, mode in (("file", 0o644), ("script", 0o755), ("secret", 0o600), ("closed/inner", 0o644)):
        (path / name).write_text("the host's\n")
        (path / name).chmod(mode)
    (path / "closed").chmod(0o700)
    os.mknod(path / "null", 0o020600, os.makedev(1, 3))
    path.chmod(0o755)
    before = snapshot(path)
    yield path
    assert snapshot(path) == before


def snapshot(path):
    return {
        str(each): (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        for each in (path, *sorted(path.rglob("*")))
        for info in [each.lstat()]
    }


@pytest.mark.row("S16")
@pytest.mark.parametrize("how", ["run", "exec"])
def test_user_namespace_cannot_change_what_is_the_hosts(box, rootfs, host_files, how):
    """With all capabilities of its user namespace and no filter: binds, kernel parameters, devices, modules."""
    config = give_all_capabilities(user_namespace(box, rootfs))
    config["mounts"].append(mount("/host", "bind", str(host_files), "rbind", "rw"))
    parameters = {
        name: Path(f"/proc/sys/{name}").read_text()
        for name in ("kernel/core_pattern", "vm/swappiness", "kernel/panic", "fs/file-max")
    }
    script = """
    try() { ("$@") 2>/dev/null && echo DID "$@"; }
    b=/bin/busybox
    for f in file script secret closed/inner closed null; do
      try sh -c "echo owned >>/host/$f"; try $b chmod 4777 /host/$f; try $b chown 0:0 /host/$f; try $b rm -rf /host/$f
      try $b mv /host/$f /host/other; try $b ln /host/$f /tmp/link; try $b touch /host/$f
    done
    try cat /host/secret /host/closed/inner
    try touch /host/new; try mkdir /host/dir; try mknod /host/disk b 254 0; try mknod /tmp/disk b 254 0
    for p in kernel/core_pattern vm/swappiness kernel/panic fs/file-max; do try sh -c "echo 1 >/proc/sys/$p"; done
    try sh -c "echo b >/proc/sysrq-trigger"; try sh -c "echo 1 >/sys/kernel/uevent_helper"
    for d in null zero full random urandom tty; do try $b chmod 600 /dev/$d; try $b chown 0 /dev/$d; done
    try mount -o remount,rw /sys; try sh -c "echo -1000 >/proc/self/oom_score_adj"
    try $b swapoff /dev/vda; try $b insmod /bin/busybox
    true
    """
    null = os.stat("/dev/null")
    if how == "run":
        config["process"]["args"] = ["sh", "-c", script]
        result = box.run(config)
    else:
        config["process"]["args"] = ["sleep", "1000"]
        box.start(config=config)
        result = box.call("exec", "box", "sh", "-c", script)
    assert result.returncode == 0, result
    assert result.stdout == "", result.stdout
    assert {name: Path(f"/proc/sys/{name}").read_text() for name in parameters} == parameters
    now = os.stat("/dev/null")
    assert (now.st_mode, now.st_uid, now.st_rdev) == (null.st_mode, null.st_uid, null.st_rdev)


@pytest.mark.row("S16")
@pytest.mark.parametrize("key", ["uidMappings", "gidMappings"])
@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 100000, 1000), (500, 200000, 1000)],
        [(0, 100000, 1000), (1000, 100999, 1000)],
        [(0, 100000, 10), (0, 200000, 10)],
        [(0, 100000, 10), (10, 100000, 10)],
        [(0, 100000, 2**32 - 1)],
        [(0, 2**32 - 2, 2)],
    ],
)
def test_overlapping_map_is_refused(box, rootfs, key, ranges):
    config = user_namespace(box, rootfs, "true")
    config["linux"][key] = [
        {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges
    ]
    result = box.run(config)
    assert result.returncode == 1
    assert f"linux.{key}" in result.stderr
    assert not (box.root / "box").exists()


@pytest.mark.row("S16")
def test_processes_of_the_container_are_not_roots(box, rootfs):
    """Also the runtime's own, on their way in: a container's root may signal and trace what has its user."""
    box.start(config=user_namespace(box, rootfs, "sleep", "1000"))
    box.detached("exec", "-d", "box", "sleep", "1000")
    pids = [int(word) for word in box.call("exec", "box", "sh", "-c", "pidof sleep").stdout.split()]
    assert len(pids) == 2
    found = [path for path in Path("/proc").glob("[0-9]*") if is_in(path, box.state()["pid"])]
    assert len(found) == 2
    assert {os.stat(path).st_uid for path in found} == {HOST_ID}


def is_in(path, pid):
    """Whether a process is in the pid namespace of another."""
    try:
        return os.readlink(path / "ns/pid") == os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return False
