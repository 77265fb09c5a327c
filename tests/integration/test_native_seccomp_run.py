"""Seccomp as a container meets it: flags, actions, and calls that an agent answers (SCMP_ACT_NOTIFY)."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading
from pathlib import Path

import pytest
from native_bundle import CAPABILITIES, make_rootfs, write_config

pytestmark = pytest.mark.root

NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
MKDIR, WRITE = 83, 1


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


class Agent:
    """A seccomp agent: lets everything pass but what `refuse` names, and remembers what it was asked."""

    def __init__(self, path, refuse=None):
        self.path = str(path)
        self.refuse = refuse or {}
        self.states = []
        self.asked = []
        self.threads = []
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.bind(self.path)
        self.line.listen()
        self.start(self.accept)

    def start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        while True:
            try:
                end, _ = self.line.accept()
            except OSError:
                return
            with end:
                text, ancillary, _, _ = end.recvmsg(65536, socket.CMSG_SPACE(64))
                while part := end.recv(65536):
                    text += part
            fds = array.array("i")
            for _, _, data in ancillary:
                fds.frombytes(data)
            self.states.append((json.loads(text), len(fds)))
            self.start(self.answer, fds[0])

    def answer(self, fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            while True:
                (_, event), *_ = poll.poll() or [(0, 0)]
                if not event & select.POLLIN:
                    return  # nobody has the filter any more
                notification = bytearray(80)
                try:
                    fcntl.ioctl(fd, NOTIF_RECV, notification)
                except FileNotFoundError:
                    continue
                identity, pid, _, number = struct.unpack_from("=QIIi", notification)
                self.asked.append((pid, number))
                error = -self.refuse.get(number, 0)
                try:
                    fcntl.ioctl(
                        fd, NOTIF_SEND, struct.pack("=QqiI", identity, 0, error, 0 if error else CONTINUE)
                    )
                except FileNotFoundError:
                    continue
        finally:
            os.close(fd)

    def close(self):
        self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def agent(box, tmp_path):
    made = []

    def make(**options):
        made.append(Agent(tmp_path / f"agent{len(made)}", **options))
        return made[-1]

    yield make
    box.close()  # the listeners end with the container
    for each in made:
        each.close()


def notifying(agent, *names, default="SCMP_ACT_ALLOW", **more):
    rules = [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}] if names else []
    return {
        "defaultAction": default,
        "syscalls": rules,
        "listenerPath": agent.path,
        "listenerMetadata": "opaque",
        **more,
    }


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_agent_gets_the_listener_and_answers(box, agent, no_new_privileges):
    agent = agent(refuse={MKDIR: errno.EXDEV})
    config = box.config("sh", "-c", "mkdir /tmp/notified 2>&1; echo end")
    config["linux"]["seccomp"] = notifying(agent, "mkdir")
    config["annotations"] = {"a": "b"}
    config["process"]["noNewPrivileges"] = no_new_privileges
    result = box.run(config)
    assert "nvalid cross-device link" in result.stdout or "Cross-device link" in result.stdout, result
    assert result.stdout.endswith("end\n")
    ((state, fds),) = agent.states
    assert (state["fds"], fds, state["metadata"]) == (["seccompFd"], 1, "opaque")
    assert state["ociVersion"]
    assert state["pid"] == state["state"]["pid"] > 1
    assert state["state"] == {
        "ociVersion": "1.0.2", "id": "box", "status": "creating", "pid": state["pid"], "bundle": str(box.bundle),
        "annotations": {"a": "b"},
    }  # fmt: skip
    assert [number for _, number in agent.asked] == [MKDIR]


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize(
    "names",
    [("write", "read", "sendto", "sendmsg", "recvfrom", "close"), ("execve", "capset", "prctl", "stat")],
)
def test_calls_of_the_runtime_itself_may_be_notified(box, agent, names, no_new_privileges):
    """runc refuses write(2), which its own init needs; here no call is needed before the agent has the listener."""
    agent = agent()
    config = box.config("sh", "-c", "echo through")
    config["linux"]["seccomp"] = notifying(agent, *names)
    config["process"]["noNewPrivileges"] = no_new_privileges
    result = box.run(config)
    assert (result.returncode, result.stdout) == (0, "through\n"), result
    assert agent.asked


def test_every_call_may_be_notified(box, agent):
    agent = agent()
    config = box.config("sh", "-c", "echo through")
    config["linux"]["seccomp"] = notifying(agent, default="SCMP_ACT_NOTIFY")
    result = box.run(config)
    assert (result.returncode, result.stdout) == (0, "through\n"), result
    assert len({number for _, number in agent.asked}) > 5


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_exec_has_a_listener_of_its_own(box, agent, no_new_privileges):
    agent = agent(refuse={MKDIR: errno.EXDEV})
    config = box.config("sleep", "1000")
    config["linux"]["seccomp"] = notifying(
        agent, "mkdir", "write", flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]
    )
    config["process"]["noNewPrivileges"] = no_new_privileges
    init = box.start(config=config)
    result = box.call("exec", "box", "sh", "-c", "mkdir /tmp/notified; echo $?")
    assert result.stdout == "1\n", result
    (first, _), (second, fds) = agent.states
    assert (first["pid"], first["state"]["status"]) == (init, "creating")
    assert fds == 1
    assert second["pid"] not in (init, 0)
    assert (second["state"]["pid"], second["state"]["status"]) == (init, "running")
    assert MKDIR in [number for _, number in agent.asked]
    assert (second["pid"], WRITE) in agent.asked


def test_nobody_listens_any_more(box, tmp_path):
    agent = Agent(tmp_path / "agent")
    agent.close()
    config = box.config("true")
    config["linux"]["seccomp"] = notifying(agent, "mkdir")
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.seccomp.listenerPath" in result.stderr
    assert not (box.root / "box").exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*{box.cgroup}/box"))


def test_agent_that_goes_away_between_create_and_exec(box, agent, tmp_path):
    agent = agent()
    config = box.config("sleep", "1000")
    config["linux"]["seccomp"] = notifying(agent, "mkdir")
    box.start(config=config)
    os.unlink(agent.path)
    result = box.call("exec", "box", "true")
    assert result.returncode == 255
    assert "linux.seccomp.listenerPath" in result.stderr


@pytest.mark.parametrize("flag", ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"])
def test_flags_are_taken_by_the_kernel(box, flag):
    config = box.config("sh", "-c", "grep -E '^(Seccomp|Speculation_Store)' /proc/self/status; mkdir /tmp/x")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": [f"SECCOMP_FILTER_FLAG_{flag}"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
    }
    result = box.run(config)
    assert "Seccomp:\t2" in result.stdout
    assert "ross-device link" in result.stderr


@pytest.mark.parametrize(
    ("action", "code"),
    [("KILL", 159), ("KILL_PROCESS", 159), ("KILL_THREAD", 159), ("TRAP", 159), ("LOG", 0), ("ALLOW", 0)],
)
def test_what_the_actions_do_to_a_program(box, action, code):
    config = box.config("sh", "-c", "mkdir /tmp/x; exit $?")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW" if action != "ALLOW" else "SCMP_ACT_LOG",
        "syscalls": [{"names": ["mkdir"], "action": f"SCMP_ACT_{action}"}],
    }
    config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    assert box.run(config).returncode == code


def test_tracer_that_is_not_there_means_enosys(box):
    config = box.config("sh", "-c", "mkdir /tmp/x")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}],
    }
    assert "not implemented" in box.run(config).stderr


@pytest.mark.row("S13")
@pytest.mark.parametrize("refused", [(), ("clone",), ("clone", "setsid", "ioctl")])
@pytest.mark.parametrize("tty", [False, True])
def test_exec_has_the_filter_also_when_that_refuses_what_the_runtime_does(box, refused, tty):
    """The filter is loaded before or after the last fork of an exec: the program has the same one."""
    config = box.config("sleep", "1000")
    if refused:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": [*refused, "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
        }
    for names in config["process"]["capabilities"].values():
        names[:] = CAPABILITIES
    box.start(config=config)
    result = box.call("exec", *(["--tty"] if tty else []), "box", "cat", "/proc/self/status")
    assert result.returncode == 0, result.stderr
    found = {
        name: value.strip() for name, _, value in (line.partition(":") for line in result.stdout.splitlines())
    }
    assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "1")
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0xA80425FB}
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0


@pytest.mark.row("S13")
def test_no_new_privileges_of_an_exec(box):
    config = box.config("sleep", "1000")
    config["process"]["noNewPrivileges"] = True
    box.start(config=config)
    status = box.call("exec", "box", "cat", "/proc/self/status").stdout
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flags": ["SECCOMP_FILTER_FLAG_NONSENSE"]}, "linux.seccomp.flags"),
        ({"architectures": ["SCMP_ARCH_PDP11"]}, "linux.seccomp.architectures"),
        ({"defaultAction": "SCMP_ACT_NONSENSE"}, "linux.seccomp.defaultAction"),
        ({"listenerMetadata": "x"}, "linux.seccomp.listenerMetadata"),
    ],
)
def test_wrong_profile_is_refused_by_name(box, change, words):
    config = box.config("true")
    config["linux"]["seccomp"].update(change)
    write_config(box.bundle, config)
    result = box.call("create", "-b", str(box.bundle), "box")
    assert result.returncode == 1
    assert words in result.stderr
