"""The native runtime as an ordinary user, with and without subordinate ids, and as root of a user namespace."""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, MASKED, READONLY, import_paths, make_rootfs, mount, seccomp_profile

from barque.testing import need

pytestmark = pytest.mark.root

USER = 65534
SET_USER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
SUBORDINATE = [
    {"containerID": 0, "hostID": USER, "size": 1},
    {"containerID": 1, "hostID": 300000, "size": 65536},
]


class UserBox:
    """A bundle and state directory of an ordinary user, and the command called by him."""

    def __init__(self, directory):
        self.directory = directory
        self.bundle = directory / "bundle"
        self.state = directory / "state"
        self.before = SET_USER
        self.bundle.mkdir()
        make_rootfs(self.bundle / "rootfs")
        for path in (directory, *directory.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)

    def command(self, *words):
        return [*self.before, *COMMAND, "--root", str(self.state), *words]

    def call(self, *words, input=None):
        return subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()}, cwd=self.directory,
        )  # fmt: skip

    def detached(self, *words):
        with (self.directory / "log").open("wb+") as log:
            status = subprocess.run(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=False,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()}, cwd=self.directory,
            ).returncode  # fmt: skip
            log.seek(0)
            assert status == 0, log.read()

    def write(self, config):
        (self.bundle / "config.json").write_text(json.dumps(config))

    def run(self, config, *options):
        self.write(config)
        return self.call("run", "-b", str(self.bundle), *options, "box")

    def start(self, config, id="box"):
        self.write(config)
        pid_file = self.directory / f"pid-{id}"
        self.detached("run", "-d", "-b", str(self.bundle), "--pid-file", str(pid_file), id)
        return int(pid_file.read_text())

    def close(self):
        for path in self.state.iterdir() if self.state.exists() else ():
            if not path.name.startswith("."):
                self.call("delete", "-f", path.name)
        left = {path.name for path in self.state.iterdir()} if self.state.exists() else set()
        assert left <= {".seccomp"}
        shutil.rmtree(self.directory)


@pytest.fixture
def box():
    need.tool("setpriv")
    directory = Path(tempfile.mkdtemp(prefix="barque-rootless-"))
    directory.chmod(0o755)
    box = UserBox(directory)
    yield box
    box.close()


def config_of(*args, ids=None):
    """What `spec --rootless` writes."""
    ids = ids or [{"containerID": 0, "hostID": USER, "size": 1}]
    safe = ("nosuid", "noexec", "nodev")
    capabilities = [
        "CAP_AUDIT_WRITE",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_CHOWN",
        "CAP_SETGID",
        "CAP_SETUID",
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "cwd": "/",
            "env": ["PATH=/bin"],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ),
            mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", *safe),
            mount("/sys", "none", "/sys", "rbind", *safe, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", "ro"),
        ],
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    }


def without_user_namespace(config):
    config["linux"]["namespaces"].remove({"type": "user"})
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    return config


def test_spec_and_run(box):
    """The two commands of the manual, as they are."""
    result = subprocess.run(
        [*SET_USER, *COMMAND, "spec", "--rootless"], cwd=box.bundle, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()},
    )  # fmt: skip
    # as a user does who may not write there, make room first
    assert result.returncode == 0, result.stderr
    config = json.loads((box.bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["sh", "-c", "id -u; hostname"])
    result = box.run(config)
    assert result.stdout.split()[0] == "0", result.stderr


def test_one_id(box):
    script = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; echo x > /dev/null; ls /dev/pts; hostname"
    result = box.run(config_of("sh", "-c", script))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "65534", "1", "0", "65534", "1", "deny", "ptmx", "box"]


def test_life_of_a_container(box):
    """run -d, state, exec, ps, list, kill, delete; no process and no state stays."""
    pid = box.start(config_of("sleep", "1000"))
    assert os.stat(f"/proc/{pid}").st_uid == USER
    state = json.loads(box.call("state", "box").stdout)
    assert (state["status"], state["pid"]) == ("running", pid)
    assert [line.split()[0] for line in box.call("list").stdout.splitlines()] == ["ID", "box"]
    result = box.call(
        "exec", "box", "sh", "-c", "echo $$; id -u; ps | wc -l; cat /proc/self/oom_score_adj; kill -0 1"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[1] == "0"
    assert int(result.stdout.split()[0]) < 100
    assert box.call("exec", "box", "sh", "-c", "exit 7").returncode == 7
    assert str(pid) in box.call("ps", "box").stdout
    assert box.call("kill", "box", "KILL").returncode == 0
    wait_until_gone(pid)
    assert json.loads(box.call("state", "box").stdout)["status"] == "stopped"
    assert box.call("delete", "box").returncode == 0
    assert not (box.state / "box").exists()


def wait_until_gone(*pids):
    for _ in range(250):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return
        time.sleep(0.02)
    pytest.fail("a process does not end")


def test_exec_is_in_all_namespaces(box):
    pid = box.start(config_of("sleep", "1000"))
    pid_file = box.directory / "exec-pid"
    box.detached("exec", "-d", "--pid-file", str(pid_file), "box", "sleep", "1000")
    other = int(pid_file.read_text())
    for kind in ("user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{other}/ns/{kind}")
    assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")


def test_kill_all_and_delete_reach_everybody(box):
    """Without a cgroup the pid namespace says who belongs to the container."""
    pid = box.start(config_of("sh", "-c", "trap '' TERM; sleep 1000 & wait; wait; sleep 1000"))
    pid_file = box.directory / "exec-pid"
    box.detached("exec", "-d", "--pid-file", str(pid_file), "box", "sleep", "1000")
    other = int(pid_file.read_text())
    assert box.call("kill", "--all", "box", "TERM").returncode == 0
    wait_until_gone(other)
    assert Path(f"/proc/{pid}").exists()
    assert box.call("delete", "-f", "box").returncode == 0
    wait_until_gone(pid)


def test_terminal(box):
    config = config_of("sh", "-c", "tty; stat -c %u /dev/console; id -u")
    config["process"]["terminal"] = True
    box.write(config)
    path = box.directory / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, USER, USER)
        listener.listen()
        box.detached("run", "-d", "-b", str(box.bundle), "--console-socket", str(path), "box")
        with listener.accept()[0] as line:
            _, ancillary, _, _ = line.recvmsg(64, 64)
    console = array.array("i", ancillary[0][2])[0]
    try:
        said = b""
        while part := read_console(console):
            said += part
    finally:
        os.close(console)
    assert said.decode().split() == ["/dev/console", "0", "0"] or said.decode().split() == [
        "/dev/pts/0",
        "0",
        "0",
    ]


def read_console(console):
    try:
        return os.read(console, 4096)
    except OSError:  # EIO: the other side is closed
        return b""


def test_oom_score_and_limits_that_a_user_may_not_have(box):
    """The score stays where it is; a limit that cannot be had is refused by name."""
    config = config_of("cat", "/proc/self/oom_score_adj")
    config["process"]["oomScoreAdj"] = -500
    assert box.run(config).stdout == Path("/proc/self/oom_score_adj").read_text()
    config["process"]["oomScoreAdj"] = 300
    assert box.run(config).stdout == "300\n"
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 20, "hard": 1 << 20}]
    result = box.run(config)
    assert result.returncode == 1
    assert "RLIMIT_NOFILE" in result.stderr


def test_limit_without_a_cgroup_is_refused_by_name(box):
    config = config_of("true")
    config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.resources.memory.limit" in result.stderr


def test_without_a_user_namespace_it_is_refused(box):
    result = box.run(without_user_namespace(config_of("true")))
    assert result.returncode == 1
    assert "rootless container requires user namespaces" in result.stderr
    assert not (box.state / "box").exists()


@pytest.mark.row("S4")
def test_hostile_init_cannot_look_into_a_joining_process(box):
    """Pid 1 has the same user id outside and may trace in its user namespace, but not what comes in."""
    look = (
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
        "for f in $p/fd/* $p/mem $p/environ; do (: < $f) 2>/dev/null && readlink $f >> /tmp/got; done; done; done"
    )
    config = config_of("sh", "-c", look)
    for names in config["process"]["capabilities"].values():
        names += ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    box.start(config)
    for _ in range(20):
        assert box.call("exec", "box", "true").returncode == 0
    got = box.call("exec", "box", "sh", "-c", "cat /tmp/got 2>/dev/null; true").stdout
    for word in (str(box.directory), "cgroup", "python", "ns:"):
        assert word not in got


@pytest.mark.parametrize("own", [True, False])
def test_cgroups_are_shown_read_only(box, own):
    """The user's own of the host, or with a cgroup namespace, which starts there, the same."""
    script = "grep -c '/sys/fs/cgroup/[a-z]*.* ro,nosuid,nodev,noexec.* cgroup' /proc/self/mountinfo; touch /sys/fs/cgroup/x"
    config = config_of("sh", "-c", script)
    if own:
        config["linux"]["namespaces"].append({"type": "cgroup"})
    result = box.run(config)
    assert "Read-only file system" in result.stderr
    assert int(result.stdout) >= 1


def test_network_namespace_and_seccomp(box):
    """Without no_new_privs the filter takes the power over the user namespace."""
    config = config_of(
        "sh",
        "-c",
        "ip address show lo | grep -c 127.0.0.1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    )
    config["linux"]["namespaces"].append({"type": "network"})
    config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "7"}
    config["linux"]["seccomp"] = seccomp_profile()
    config["process"]["noNewPrivileges"] = False
    result = box.run(config)
    assert result.stdout.split() == ["1", "7"], result.stderr


@pytest.mark.parametrize(
    ("fstype", "lacking", "words"),
    [
        ("sysfs", "network", "needs a new network namespace"),
        ("mqueue", "ipc", "needs a new ipc namespace"),
    ],
)
def test_file_system_that_needs_a_namespace_of_the_same_owner(box, fstype, lacking, words):
    config = config_of("true")
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [each for each in spaces if each["type"] != lacking]
    config["mounts"].append(mount("/v", fstype, fstype))
    result = box.run(config)
    assert result.returncode == 1
    assert words in result.stderr


@pytest.mark.parametrize("options", [(), ("--no-pivot",)])
def test_without_pivot(box, options):
    result = box.run(config_of("sh", "-c", "ls /; touch /x"), *options)
    assert result.stdout.split() == ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]
    assert "Read-only file system" in result.stderr


def test_podman(subordinate, tmp_path):
    """podman as that user, with this runtime in place of runc."""
    need.tool("podman")
    home = subordinate.directory / "home"
    for path in (home, home / "run"):
        path.mkdir(mode=0o700)
        os.chown(path, USER, USER)
    runtime = home / "barque-runtime"
    runtime.write_text(f'#!/bin/sh\nPYTHONPATH={import_paths()} exec {COMMAND[0]} -c "{COMMAND[2]}" "$@"\n')
    runtime.chmod(0o755)
    subprocess.run(["tar", "-C", subordinate.bundle / "rootfs", "-cf", home / "rootfs.tar", "."], check=True)
    store = f"--storage-driver vfs --root {home}/store --runroot {home}/rr"
    podman = f"podman {store} --runtime {runtime} --cgroup-manager cgroupfs --events-backend file"
    script = f"""
        podman {store} import -q {home}/rootfs.tar box >/dev/null || exit 1
        {podman} run --rm --network none box id -u
        {podman} run -d --name a --network none box sleep 1000 >/dev/null
        {podman} exec --user 1000 a id -u
        {podman} exec a sh -c 'exit 4'; echo $?
        {podman} run --rm --network container:a --ipc container:a --read-only --tmpfs /x box sh -c 'touch /x/y && echo ok'
        {podman} run --rm --network none --userns keep-id box id -u
        {podman} rm -f -t 0 a
        {podman} ps -aq
        podman {store} rmi -f box >/dev/null
        kill $(cat {home}/run/libpod/tmp/pause.pid)  # podman leaves a process behind that holds its user namespace
    """
    result = subprocess.run(
        [*subordinate.before, "sh", "-c", script], capture_output=True, text=True, timeout=180, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": f"{home}/run"}, cwd=home,
    )  # fmt: skip
    assert result.stdout.split() == ["0", "1000", "4", "ok", str(USER), "a"], result.stderr


# Namespaces that the runtime cannot come back from


def test_new_time_namespace(box):
    config = config_of("cat", "/proc/self/timens_offsets")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 4242}}
    result = box.run(config)
    assert "boottime 4242 0" in " ".join(result.stdout.split()), result.stderr


@pytest.mark.parametrize(
    "kinds", [("user",), ("user", "network", "ipc", "uts"), ("user", "pid"), ("user", "time")]
)
def test_joining_another_container_of_his(box, kinds):
    files = {"network": "net"}
    config = config_of("sleep", "1000")
    config["linux"]["namespaces"] += [{"type": "network"}, {"type": "time"}]
    one = box.start(config, id="one")
    second = config_of("sleep", "1000")
    del second["linux"]["uidMappings"], second["linux"]["gidMappings"], second["hostname"]
    spaces = [each for each in second["linux"]["namespaces"] if each["type"] not in kinds]
    second["linux"]["namespaces"] = spaces + [
        {"type": kind, "path": f"/proc/{one}/ns/{files.get(kind, kind)}"} for kind in kinds
    ]
    second["mounts"] = [each for each in second["mounts"] if each["type"] != "mqueue"]
    if "pid" in kinds:
        result = box.run(second)
        assert result.returncode == 1
        assert "pid" in result.stderr
        return
    two = box.start(second, id="two")
    for kind in kinds:
        file = files.get(kind, kind)
        assert os.readlink(f"/proc/{one}/ns/{file}") == os.readlink(f"/proc/{two}/ns/{file}")
    assert box.call("exec", "two", "id", "-u").stdout == "0\n"
    assert box.call("delete", "-f", "two").returncode == 0


# Subordinate ids


@pytest.fixture
def subordinate(box):
    """In a mount namespace of their own, /etc/subuid and /etc/subgid give the user a range."""
    need.tool("newuidmap")
    ranges = box.directory / "ranges"
    ranges.write_text(f"{USER}:300000:65536\n")
    ranges.chmod(0o644)
    os.chown(ranges, 0, 0)
    script = 'for f in subuid subgid; do mount --bind $0 /etc/$f || exit 9; done; exec "$@"'
    box.before = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, str(ranges), *SET_USER]
    return box


def test_subordinate_ids(subordinate):
    script = "cat /proc/self/uid_map /proc/self/gid_map; id; touch /tmp/f && chown 1000:1000 /tmp/f && stat -c %u:%g /tmp/f"
    config = config_of("sh", "-c", script, ids=SUBORDINATE)
    config["root"]["readonly"] = False
    config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5, 6]}
    result = subordinate.run(config)
    lines = [line.split() for line in result.stdout.splitlines()]
    maps = [["0", "65534", "1"], ["1", "300000", "65536"]]
    assert lines[:4] == maps * 2, result.stderr
    assert "groups=5,6" in lines[4][-1]
    assert lines[5] == ["1000:1000"]
    assert (subordinate.bundle / "rootfs/tmp/f").stat().st_uid == 300999


def test_program_of_a_subordinate_user_can_be_managed(subordinate):
    config = config_of("sleep", "1000", ids=SUBORDINATE)
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    pid = subordinate.start(config)
    assert os.stat(f"/proc/{pid}").st_uid == 300999
    assert subordinate.call("exec", "-u", "7:8", "box", "id", "-u").stdout == "7\n"
    assert subordinate.call("exec", "box", "sh", "-c", "exit 3").returncode == 3
    assert subordinate.call("kill", "box", "KILL").returncode == 0
    wait_until_gone(pid)


def test_range_that_is_not_his_is_refused_by_name(box):
    need.tool("newuidmap")
    result = box.run(config_of("true", ids=SUBORDINATE))
    assert result.returncode == 1
    assert "linux.uidMappings: newuidmap refused the mappings" in result.stderr
    assert "/etc/subuid" in result.stderr
    assert not (box.state / "box").exists()


def test_path_of_the_environment_is_not_asked_for_the_tools(box):
    """They are set-user-id root; one of the user's own, first in PATH, must not even be started."""
    need.tool("newuidmap")
    trap = box.directory / "bin"
    trap.mkdir()
    (trap / "newuidmap").write_text(f"#!/bin/sh\ntouch {trap}/ran\n")
    (trap / "newuidmap").chmod(0o755)
    os.chown(trap, USER, USER)
    box.before = [*SET_USER, "env", f"PATH={trap}:/usr/bin:/bin"]
    assert box.run(config_of("true", ids=SUBORDINATE)).returncode == 1
    assert not (trap / "ran").exists()


# Root of a user namespace


@pytest.fixture
def nested(box):
    """The user is root of a user namespace of his, as podman makes one around the runtime."""
    need.tool("unshare")
    box.before = [*SET_USER, "unshare", "-U", "-r", "-m"]
    return box


INNER = [{"containerID": 0, "hostID": 0, "size": 1}]


@pytest.mark.parametrize("user", [True, False])
def test_root_of_a_user_namespace(nested, user):
    config = config_of(
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; echo x > /dev/null; stat -c %F /dev/zero; hostname",
        ids=INNER,
    )
    config["process"]["oomScoreAdj"] = -500
    if not user:
        without_user_namespace(config)
    result = nested.run(config)
    assert result.returncode == 0, result.stderr
    outside = "0" if user else "65534"
    assert result.stdout.split() == ["0", "0", outside, "1", "character", "special", "file", "box"]


@pytest.mark.parametrize("user", [True, False])
def test_life_below_a_user_namespace(nested, user):
    """Start, exec, kill and delete from the same outer namespace, whose pid namespace is the host's."""
    config = config_of("sleep", "1000", ids=INNER)
    if not user:
        without_user_namespace(config)
    nested.write(config)
    command = " ".join(f"'{word}'" for word in COMMAND)
    runtime = f"{command} --root {nested.state}"
    script = (
        f"{runtime} run -d -b {nested.bundle} box >{nested.directory}/log 2>&1 </dev/null || exit 1; "
        f"{runtime} exec box sh -c 'readlink /proc/1/exe; exit 5'; echo $?; {runtime} ps -f json box; "
        f"{runtime} kill box KILL; sleep 0.2; {runtime} delete box; echo $?; ls {nested.state}"
    )
    result = subprocess.run(
        [*nested.before, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths()},
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert result.returncode == 0, (nested.directory / "log").read_text()
    assert lines[0] == "/bin/busybox", result.stderr
    assert lines[1] == "5"
    assert len(json.loads(lines[2])) == 1
    assert lines[3:] == ["0"]


# The default state directory


@pytest.fixture
def stranger():
    """The default directory of a user whom nobody else uses."""
    uid = 64321
    path = Path(f"/tmp/barque-runtime-{uid}")
    assert not path.exists()

    def listing(**environment):
        return subprocess.run(
            ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", *COMMAND, "list"],
            capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": import_paths(), **environment},
        )  # fmt: skip

    yield path, uid, listing
    if path.exists():
        path.rmdir()


def test_default_state_directory_is_made_private(stranger):
    path, uid, listing = stranger
    result = listing()
    assert result.returncode == 0, result.stderr
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (uid, 0o700)
    assert listing().returncode == 0


def test_default_state_directory_of_somebody_else_is_refused(stranger):
    path, uid, listing = stranger
    path.mkdir(0o777)
    result = listing()
    assert result.returncode == 1
    assert f"{path} is not a private directory of this user" in result.stderr
    os.chown(path, uid, uid)
    path.chmod(0o755)
    assert listing().returncode == 1


def test_run_time_directory_is_preferred(stranger, tmp_path):
    path, _, listing = stranger
    assert listing(XDG_RUNTIME_DIR=str(tmp_path)).returncode == 0
    assert not path.exists()
