"""create, start, state, kill, delete, hooks and terminals of barque-runtime, also when things go wrong in the middle."""

from __future__ import annotations

import array
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, Box, import_paths, make_rootfs, mount, write_config

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


def gone(pid, seconds=5.0):
    """Whether the process ends (or is a zombie of whoever adopted it) in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_life_in_separate_commands(box):
    write_config(box.bundle, box.config("sh", "-c", "sleep 1000"))
    box.detached("create", "-b", str(box.bundle), "--pid-file", str(box.directory / "pid"), "box")
    state = box.state()
    pid = int((box.directory / "pid").read_text())
    assert (state["status"], state["pid"], state["bundle"]) == ("created", pid, str(box.bundle))
    assert Path(f"/proc/{pid}/stat").exists()
    assert box.call("start", "box").returncode == 0
    assert box.state()["status"] == "running"
    again = box.call("start", "box")
    assert again.returncode == 1
    assert "running" in again.stderr
    refused = box.call("delete", "box")
    assert refused.returncode == 1
    assert "running" in refused.stderr
    assert box.call("kill", "box", "KILL").returncode == 0
    assert gone(pid)
    assert (box.state()["status"], box.state()["pid"]) == ("stopped", 0)
    assert "container not running" in box.call("kill", "box", "TERM").stderr
    assert box.call("delete", "box").returncode == 0
    assert box.call("state", "box").returncode == 1


def test_delete_of_an_unknown_container(box):
    result = box.call("delete", "nobody")
    assert result.returncode == 1
    assert "does not exist" in result.stderr
    assert box.call("delete", "--force", "nobody").returncode == 0


def test_same_id_twice(box):
    box.start("sleep", "1000")
    result = box.call("run", "-b", str(box.bundle), "box")
    assert result.returncode == 1
    assert "already exists" in result.stderr
    assert box.state()["status"] == "running"


def test_created_container_can_be_deleted(box):
    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), "box")
    pid = box.state()["pid"]
    assert box.call("delete", "box").returncode == 0
    assert gone(pid)


@pytest.mark.row("R9")
def test_init_killed_between_create_and_start(box):
    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), "box")
    pid = box.state()["pid"]
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    begin = time.monotonic()
    result = box.call("start", "box")
    assert result.returncode == 1
    assert time.monotonic() - begin < 2
    assert box.call("delete", "box").returncode == 0


@pytest.mark.row("R3")
@pytest.mark.parametrize(
    ("call", "number"),
    [("clone3", 1), ("mkdir", 1), ("mkdir", 2), ("mkdir", 5), ("rename", 1), ("rename", 2), ("mknodat", 1), ("sendto", 1),
     ("recvmsg", 1), ("move_mount", 3), ("pivot_root", 1), ("capset", 1)],
)  # fmt: skip
def test_create_killed_in_the_middle_leaves_nothing_after_delete(box, call, number):
    """strace kills the runtime at a system call; delete then frees what was made."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    write_config(box.bundle, box.config("sleep", "1000"))
    with (box.directory / "out").open("wb") as out:
        subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}",
             *COMMAND, "--root", str(box.root), "create", "-b", str(box.bundle), "box"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": import_paths()},
        )  # fmt: skip
    assert box.call("delete", "box").returncode in (0, 1)  # 1: nothing had been made yet
    assert [path.name for path in box.root.glob("*") if path.name != ".seccomp"] == []
    assert not box.cgroups("/box")
    result = box.run(box.config("echo", "again"))
    assert result.stdout == "again\n", result.stderr


@pytest.mark.row("R7")
@pytest.mark.parametrize("field", ["pid", "starttime", "boot"])
def test_recorded_pid_of_a_foreign_process_is_never_signalled(box, field):
    pid = box.start("sleep", "1000")
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        init, state = box.root / "box/init", box.root / "box/state.json"
        starttime = init.read_text().split()[1]
        if field == "pid":
            init.write_text(f"{stranger.pid} {starttime}\n")
        elif field == "starttime":
            init.write_text(f"{pid} {int(starttime) + 1}\n")
        else:
            document = json.loads(state.read_text())
            document["boot"] = "another"
            state.write_text(json.dumps(document))
        assert box.state()["status"] == "stopped"
        assert "not running" in box.call("kill", "box", "KILL").stderr
        assert box.call("exec", "box", "true").returncode != 0
        assert box.call("delete", "--force", "box").returncode == 0
        assert stranger.poll() is None
        assert gone(pid)
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"id": "other"}', b"\xff\xfe"])
def test_damaged_state_is_an_error_and_can_be_deleted(box, damage):
    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), "box")
    state = box.root / "box/state.json"
    right = state.read_bytes()
    state.write_bytes(damage)
    for words in (["state", "box"], ["start", "box"], ["kill", "box"], ["delete", "box"]):
        result = box.call(*words)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
    assert "box" not in box.call("list", "-q").stdout
    state.write_bytes(right)


@pytest.mark.row("R15")
def test_processes_left_in_a_shared_pid_namespace_are_killed(box):
    config = box.config("sh", "-c", "sleep 1000 & sleep 1000 & sleep 0.1")
    config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
    pid = box.start(config=config)
    left = [int(word) for word in box.cgroup_file("pids", "cgroup.procs").split() if int(word) != pid]
    assert gone(pid)
    assert box.state()["status"] == "stopped"
    assert len(left) == 2
    assert box.call("kill", "--all", "box", "KILL").returncode == 0
    assert all(gone(each) for each in left)
    assert box.call("delete", "box").returncode == 0


@pytest.mark.row("R13")
def test_fork_bomb_is_killed(box):
    config = box.config("sh", "-c", "f() { f | f & }; f; while :; do sleep 1; done")
    config["linux"]["resources"]["pids"]["limit"] = 50
    box.start(config=config)
    time.sleep(0.5)
    begin = time.monotonic()
    assert box.call("delete", "--force", "box").returncode == 0
    assert time.monotonic() - begin < 4


def test_pause_ps_list(box):
    pid = box.start("sh", "-c", "sleep 1000; true")
    assert box.call("pause", "box").returncode == 0
    assert box.state()["status"] == "paused"
    assert "paused" in box.call("exec", "box", "true").stderr
    assert box.call("resume", "box").returncode == 0
    assert box.state()["status"] == "running"
    pids = json.loads(box.call("ps", "--format", "json", "box").stdout)
    assert pid in pids
    assert len(pids) == 2
    assert box.call("list", "-q").stdout == "box\n"
    [entry] = json.loads(box.call("list", "--format", "json").stdout)
    assert (entry["id"], entry["pid"], entry["owner"]) == ("box", pid, "root")
    assert entry["rootfs"] == str(box.rootfs)


@pytest.mark.row("R14")
def test_paused_container_can_be_killed(box):
    pid = box.start("sleep", "1000")
    box.call("pause", "box")
    assert box.call("delete", "--force", "box").returncode == 0
    assert gone(pid)


def test_exec_options(box):
    box.start("sleep", "1000")
    result = box.call(
        "exec",
        "-e",
        "A=1",
        "--cwd",
        "/etc",
        "-u",
        "5:6",
        "-g",
        "7",
        "box",
        "sh",
        "-c",
        "echo $A $(pwd); id; exit 9",
    )
    assert result.returncode == 9
    assert result.stdout.splitlines() == ["1 /etc", "uid=5 gid=6 groups=7"]


def test_exec_of_a_process_file(box):
    box.start("sleep", "1000")
    path = box.directory / "process.json"
    path.write_text(
        json.dumps(
            {
                "args": ["sh", "-c", "echo $B"],
                "cwd": "/",
                "env": ["PATH=/bin", "B=2"],
                "noNewPrivileges": True,
            }
        )
    )
    assert box.call("exec", "--process", str(path), "box").stdout == "2\n"


@pytest.mark.parametrize(
    ("program", "end"),
    [
        ("nothing", "executable file not found in $PATH"),
        ("/etc/passwd", "permission denied"),
        ("/no/such", "no such file or directory"),
    ],
)
def test_exec_of_what_cannot_be_executed(box, program, end):
    box.start("sleep", "1000")
    result = box.call("exec", "box", program)
    assert result.returncode == 255
    assert result.stderr.strip().endswith(end)


def test_exec_in_a_container_that_has_ended(box):
    pid = box.start("true")
    assert gone(pid)
    result = box.call("exec", "box", "true")
    assert result.returncode == 255
    assert "cannot exec in a stopped container" in result.stderr


def test_network_namespace_by_path(box):
    holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        config = box.config("readlink", "/proc/self/ns/net")
        for each in config["linux"]["namespaces"]:
            if each["type"] == "network":
                each["path"] = f"/proc/{holder.pid}/ns/net"
        assert box.run(config).stdout.strip() == os.readlink(f"/proc/{holder.pid}/ns/net")
    finally:
        holder.kill()
        holder.wait()


def test_pid_and_other_namespaces_of_another_container(box, tmp_path):
    pid = box.start("sleep", "1000")
    other = Box(tmp_path / "other", box.rootfs)
    other.directory.mkdir()
    other.cgroup = f"{box.cgroup}-other"
    config = other.config("sh", "-c", "for n in pid ipc net uts; do readlink /proc/self/ns/$n; done; ps")
    del config["hostname"]
    config["linux"]["sysctl"] = {}
    for each in config["linux"]["namespaces"]:
        if each["type"] != "mount":
            name = {"network": "net"}.get(each["type"], each["type"])
            each["path"] = f"/proc/{pid}/ns/{name}"
    try:
        result = other.run(config)
        lines = result.stdout.splitlines()
        assert lines[:4] == [
            os.readlink(f"/proc/{pid}/ns/{name}") for name in ("pid", "ipc", "net", "uts")
        ], result
        assert "sleep 1000" in result.stdout
    finally:
        other.close()


def test_refused_configurations_name_the_field_and_leave_nothing(box):
    cases = [
        (("linux", "intelRdt"), {"closID": "x"}, "linux.intelRdt"),
        (("linux", "sysctl"), {"kernel.core_pattern": "x"}, "kernel.core_pattern"),
        (("linux", "cgroupsPath"), "/../../x", "linux.cgroupsPath"),
        (("linux", "seccomp", "defaultAction"), "SCMP_ACT_NOTIFY", "linux.seccomp"),
        (("linux", "resources", "hugepageLimits"), [{"pageSize": "3MB", "limit": 1}], "hugepageLimits"),
        (("process", "apparmorProfile"), "docker-default", "process.apparmorProfile"),
        (("process", "selinuxLabel"), "a:b:c:d", "process.selinuxLabel"),
        (("root", "path"), "/", "root.path"),
        (("ociVersion",), "3.0", "ociVersion"),
        (("linux", "resources", "memory", "limit"), 4096, "linux.resources.memory.limit"),
        (("linux", "resources", "cpu", "cpus"), "99", "linux.resources.cpu.cpus"),
    ]
    for path, value, field in cases:
        config = box.config("true")
        section = config
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        result = box.run(config)
        assert result.returncode == 1, field
        assert field in result.stderr, result.stderr
        assert not (box.root / "box").exists()
        assert not box.cgroups("/box")


# Hooks


def hook(path, name, *extra):
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {path}/{name}; {' '.join(extra)}"]}


def test_hooks_run_in_their_order_and_namespaces(box, tmp_path):
    config = box.config("sh", "-c", "true")
    log = tmp_path / "log"
    log.mkdir()
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /log/startContainer; hostname >> /log/order"]}
    config["mounts"].append(mount("/log", "bind", str(log), "bind"))
    config["hooks"] = {
        kind: [hook(log, kind, f"echo {kind} $(hostname) >> {log}/order")]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    config["hooks"]["startContainer"] = [inside]
    config["annotations"] = {"a": "b"}
    result = box.run(config)
    assert result.returncode == 0, result.stderr
    host = os.uname().nodename
    order = (log / "order").read_text().splitlines()
    assert order[:4] == [f"prestart {host}", f"createRuntime {host}", "createContainer box", "box"]
    assert sorted(order[4:]) == [f"poststart {host}", f"poststop {host}"]
    for kind, status in (
        ("prestart", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ):
        state = json.loads((log / kind).read_text())
        assert (state["id"], state["status"], state["annotations"]) == ("box", status, {"a": "b"})
        assert state["pid"] > 1 or kind == "poststop"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_hook_that_fails_ends_the_container(box, kind):
    config = box.config("true")
    config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo the reason >&2; exit 3"]}]}
    result = box.run(config)
    assert result.returncode == 1
    assert f"{kind} hook #0 /bin/sh: exit status 3, stdout: , stderr: the reason" in result.stderr
    assert not (box.root / "box").exists()


def test_hook_that_takes_too_long_is_killed(box):
    config = box.config("true")
    config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    result = box.run(config)
    assert "timed out" in result.stderr


# Terminals


def test_terminal_is_relayed(box):
    config = box.config(
        "sh",
        "-c",
        "tty; stat -c '%U %G %a' $(tty); ls -l /dev/console | cut -c1; [ -t 0 ] && [ -t 2 ] && echo yes; echo x > /dev/console",
    )
    config["process"].update(terminal=True, consoleSize={"height": 10, "width": 33})
    result = box.run(config)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.replace("\r", "").splitlines()
    assert lines[0] == "/dev/pts/0"
    assert lines[1].endswith(" 620")
    assert lines[2:] == ["c", "yes", "x"]


def test_terminal_belongs_to_its_user_and_group_5(box):
    config = box.config("sh", "-c", "stat -c '%u %g %a' $(tty); stty size 2>/dev/null; true")
    config["process"].update(terminal=True, user={"uid": 1000, "gid": 1000})
    assert box.run(config).stdout.replace("\r", "").splitlines()[0] == "1000 5 620"


def receive_console(listener, found):
    line, _ = listener.accept()
    with line:
        _, ancillary, _, _ = line.recvmsg(100, socket.CMSG_SPACE(4))
        found.append(array.array("i", ancillary[0][2])[0])


@pytest.mark.parametrize("entry", ["create", "exec"])
def test_console_socket(box, entry):
    path = str(box.directory / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        found = []
        thread = threading.Thread(target=receive_console, args=(listener, found), daemon=True)
        thread.start()
        if entry == "create":
            config = box.config("sh", "-c", "echo from the box; sleep 1000")
            config["process"]["terminal"] = True
            write_config(box.bundle, config)
            box.detached("create", "-b", str(box.bundle), "--console-socket", path, "box")
            box.detached("start", "box")
        else:
            box.start("sleep", "1000")
            box.detached(
                "exec",
                "-d",
                "-t",
                "--console-socket",
                path,
                "box",
                "sh",
                "-c",
                "echo from the box; sleep 1000",
            )
        thread.join(10)
    [master] = found
    try:
        text = b""
        while b"box\r\n" not in text:
            text += os.read(master, 100)
        assert text == b"from the box\r\n"
    finally:
        os.close(master)


def test_terminal_ends_with_eio_on_exit(box):
    config = box.config("sh", "-c", "exit 5")
    config["process"]["terminal"] = True
    assert box.run(config).returncode == 5


@pytest.mark.parametrize(
    ("terminal", "words"),
    [(True, ["create"]), (True, ["run", "-d"]), (False, ["create", "--console-socket", "/x"])],
)
def test_terminal_without_anybody_at_it_is_refused(box, terminal, words):
    config = box.config("true")
    config["process"]["terminal"] = terminal
    write_config(box.bundle, config)
    result = box.call(*words, "-b", str(box.bundle), "box")
    assert result.returncode == 1
    assert "console-socket" in result.stderr


def test_signals_are_forwarded(box):
    config = box.config("sh", "-c", "trap 'exit 44' TERM; echo ready; while :; do sleep 0.05; done")
    write_config(box.bundle, config)
    process = subprocess.Popen(
        [*COMMAND, "--root", str(box.root), "run", "-b", str(box.bundle), "box"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.wait(10) == 44
    process.stdout.close()


# In place of runc


def test_configuration_of_runc_spec(box):
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("needs runc")
    box.bundle.mkdir()
    subprocess.run([runc, "spec"], cwd=box.bundle, check=True)
    config = json.loads((box.bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["sh", "-c", "hostname; touch /x; grep CapEff /proc/self/status"]
    config["linux"]["cgroupsPath"] = f"{box.cgroup}/box"
    (box.bundle / "rootfs").symlink_to(box.rootfs)
    hard = config["process"]["rlimits"]
    write_config(box.bundle, config)
    result = box.call("run", "box", cwd=box.bundle)
    assert result.stdout.splitlines() == ["runc", "CapEff:\t0000000020000420"], (hard, result.stderr)
    assert "Read-only" in result.stderr


def test_own_spec_runs(box):
    box.bundle.mkdir()
    assert box.call("spec", "-b", str(box.bundle)).returncode == 0
    assert box.call("spec", "-b", str(box.bundle)).returncode == 1
    config = json.loads((box.bundle / "config.json").read_text())
    config["process"]["args"] = ["echo", "hello"]
    config["linux"]["cgroupsPath"] = f"{box.cgroup}/box"
    (box.bundle / "rootfs").symlink_to(box.rootfs)
    assert box.run(config).stdout == "hello\n"


def test_version_and_no_root(box):
    assert re.match(r"barque-runtime version \d", box.call("--version").stdout)


# cgroup v2, in a mount namespace where it is all there is


def test_pure_v2_layout(box, tmp_path):
    """The hybrid's v2 hierarchy alone: birth in the cgroup, device program, kill, own cgroup namespace."""
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        pytest.skip("needs cgroup v2")
    config = box.config(
        "sh",
        "-c",
        "cat /proc/self/cgroup; cat /dev/null && echo null; mknod /dev/fuse c 10 229 && cat /dev/fuse; ls /sys/fs/cgroup/cgroup.procs",
    )
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    write_config(box.bundle, config)
    script = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && "$@"; code=$?; rmdir /sys/fs/cgroup$CGROUP; exit $code'
    result = box.call(
        "run", "-b", str(box.bundle), "box",
        before=["env", f"CGROUP={box.cgroup}", "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"],
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert "0::/" in lines, result
    assert lines[-2:] == ["null", "/sys/fs/cgroup/cgroup.procs"], result
    assert os.strerror(errno.EPERM) in result.stderr
