"""A hostile first process of a container, which may trace, against a process that joins it by exec (CVE-2016-9962)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from native_bundle import CAPABILITIES, Box, import_paths, make_rootfs, mount, write_config

pytestmark = pytest.mark.root

PTRACE = 1 << 19
GRANTED = 0xA80425FB
PYTHON = os.path.realpath(sys.executable)

# Pid 1: looks at, opens and attaches to whatever appears in its pid namespace.
ATTACK = r"""
import ctypes, json, os, time
libc = ctypes.CDLL(None, use_errno=True)
ptrace = libc.ptrace
ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
ATTACH, DETACH, GETFD = 16, 17, 438
out = open("/tmp/got", "w", buffering=1)
root = os.stat("/").st_ino

def look(pid):
    found = {"pid": pid}
    try:
        status = open(f"/proc/{pid}/status").read()
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name in ("CapPrm", "CapEff", "Seccomp", "Name"):
                found[name] = value.strip()
        found["foreign_root"] = os.stat(f"/proc/{pid}/root").st_ino != root
    except OSError as error:
        found["why"] = str(error)
    found["fds"] = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found["fds"][fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError as error:
        found["fds_why"] = str(error)
    found["taken"] = []
    try:
        pidfd = os.pidfd_open(pid)
        for fd in range(3, 40):
            got = libc.syscall(GETFD, pidfd, fd, 0)
            if got >= 0:
                found["taken"].append(os.readlink(f"/proc/self/fd/{got}"))
                os.close(got)
        os.close(pidfd)
    except OSError:
        pass
    found["attached"] = ptrace(ATTACH, pid, None, None) == 0
    if found["attached"]:
        os.waitpid(pid, 0x40000000)
        ptrace(DETACH, pid, None, None)
    out.write(json.dumps(found) + "\n")

seen = {}
out.write("{}\n")
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1" and seen.get(name, 0) < 3:
            seen[name] = seen.get(name, 0) + 1
            look(int(name))
"""

# Exec that takes its time where it is most worth to look at it.
JOIN = """
import sys, time
from barque_runtime_native import execute, warm
from barque_runtime_native.process import child
from barque_runtime_native.kernel import syscalls
warm.bind()
if {protected} and not {user}:
    execute_ = child.Finish.execute
    def slow(self):
        time.sleep(0.7)
        execute_(self)
    child.Finish.execute = slow
else:
    if not {user}:
        execute.Execution._plan_birth = lambda self: None
    setns = syscalls.setns
    def slow(fd, kinds):
        time.sleep(0.7 if kinds & syscalls.CLONE_NEWNS else 0)
        setns(fd, kinds)
    execute.syscalls.setns = slow
execution = execute.Execution("box", {root!r}, {process!r})
execution.stdio = (0, 1, 2)
pid, _ = execution.run()
import os
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


@pytest.fixture
def box(tmp_path, rootfs):
    if not PYTHON.startswith("/usr/bin/"):
        pytest.skip("needs the distribution's Python, to be the container's too")
    box = Box(tmp_path, rootfs)
    yield box
    box.close()


def attacked(box, *, may_trace, protected, user=False):
    """What a hostile pid 1 found out about a process that joins."""
    config = box.config(PYTHON, "-ISc", ATTACK)
    for path in ("/usr", "/lib", "/lib64"):
        config["mounts"].append(mount(path, "bind", os.path.realpath(path), "rbind", "ro"))
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    capabilities = [*CAPABILITIES, "CAP_SYS_PTRACE"] if may_trace else CAPABILITIES
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    if user:
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        config["linux"].update(uidMappings=mapping, gidMappings=mapping, sysctl={})
        config["linux"]["namespaces"].append({"type": "user"})
        for path in (box.rootfs, *box.rootfs.rglob("*")):
            os.chown(path, 100000, 100000, follow_symlinks=False)
    pid = box.start(config=config)
    for _ in range(100):
        if os.path.exists(f"/proc/{pid}/root/tmp/got"):
            break
        time.sleep(0.05)
    process = {**config["process"], "args": ["true"]}
    script = JOIN.format(protected=protected, user=user, root=str(box.root), process=process)
    result = subprocess.run(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": import_paths(), "SECRET": "of the host"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with open(f"/proc/{pid}/root/tmp/got") as file:
        found = [json.loads(line) for line in file]
    return [each for each in found if each and "Seccomp" in each]


@pytest.mark.row("S4")
def test_control_the_attack_works_on_a_process_that_joins_too_early(box):
    """Without the late birth: all capabilities, the host's root and descriptors are there for the taking."""
    found = attacked(box, may_trace=True, protected=False)
    assert any(each["attached"] and int(each["CapPrm"], 16) & ~(GRANTED | PTRACE) for each in found), found
    assert any(each.get("foreign_root") for each in found), found
    assert any(each["Seccomp"] == "0" for each in found)
    assert any(
        set(each["taken"]) - {"/dev/null"} and any(not t.startswith("socket:") for t in each["taken"])
        for each in found
    )


@pytest.mark.row("S4")
@pytest.mark.parametrize("may_trace", [True, False])
def test_whoever_joins_has_nothing_of_the_hosts_when_it_can_be_seen(box, may_trace):
    found = attacked(box, may_trace=may_trace, protected=True)
    assert found, "the attack has not seen the new process"
    for each in found:
        assert not (int(each["CapPrm"], 16) | int(each["CapEff"], 16)) & ~(GRANTED | PTRACE), each
        assert each["Seccomp"] == "2", each
        assert not each.get("foreign_root"), each
        # beside its own standard streams nothing but the line on which only an error still counts
        assert all(name.startswith("socket:") for name in each["taken"]), each
        others = {fd: name for fd, name in each["fds"].items() if int(fd) > 2}
        assert all(name.startswith("socket:") for name in others.values()), each
        if not may_trace:
            # it is not dumpable before its execve
            assert not (each["attached"] and each["Name"] != "true"), each
            assert not each["taken"], each


@pytest.mark.row("S4")
def test_root_of_a_user_namespace_can_trace_nobody_who_joins(box):
    """It is in the pid namespace early, with the runtime's descriptors, and not dumpable: that takes a capability outside."""
    found = attacked(box, may_trace=True, protected=True, user=True)
    early = [each for each in found if each["Seccomp"] == "0"]
    assert early, "the attack has not seen the new process before it was confined"
    for each in early:
        assert not each["attached"], each
        assert not each["taken"], each
        assert not each["fds"], each
        assert "foreign_root" not in each, each


@pytest.mark.row("S4")
def test_line_to_the_runtime_is_worthless_to_who_takes_it(box):
    """After READY the runtime takes no console and no request from it."""
    from barque.spi.errors import BarqueError
    from barque_runtime_native.channel import make_channel

    parent, child = make_channel()
    try:
        child.ready()
        assert parent.next() == b"R"
        master, slave = os.openpty()
        before = set(os.listdir("/proc/self/fd"))
        child.send_console(master)
        with pytest.raises(BarqueError, match="not due"):
            parent.next()
        assert set(os.listdir("/proc/self/fd")) == before
        assert parent.take_console() is None
        os.close(master)
        os.close(slave)
    finally:
        parent.close()
        child.close()


@pytest.mark.row("S4")
@pytest.mark.parametrize("words", [("-u", "1000:1000"), ("--tty",), ()])
def test_exec_is_what_it_was_before(box, words):
    """Born late, and a process like any other: session, terminal, parent, pid."""
    box.start("sleep", "1000")
    write_config(box.bundle, box.config("true"))
    result = box.call(
        "exec", *words, "box", "sh", "-c", "cat /proc/self/stat; readlink /proc/self/fd/0; tty; echo $$"
    )
    assert result.returncode in (0, 1), result
    stat, stdin, tty, pid = result.stdout.replace("\r", "").splitlines()
    fields = stat.rpartition(")")[2].split()
    assert fields[1:4] == [pid, pid, pid], "child of the shell, in its group and session"
    if "--tty" in words:
        assert stdin == tty == "/dev/pts/0"
        assert fields[4] != "0", "a terminal controls it"


@pytest.mark.row("S4")
def test_program_that_is_not_there_leaves_no_process(box):
    """The error comes from the late-born one: it and the one before it are gone."""
    pid = box.start("sleep", "1000")
    for program, words in (("nothing", "executable file not found"), ("/etc/passwd", "permission denied")):
        result = box.call("exec", "box", program)
        assert result.returncode == 255
        assert words in result.stderr
    assert box.cgroup_file("freezer", "cgroup.procs") == str(pid)
