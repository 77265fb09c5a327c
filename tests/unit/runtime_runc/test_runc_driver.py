"""The driver against a fake runtime: the command line, the bundle, the console, hangs, and what is kept where."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest
from runc_fake import SPEC

from barque.spi import errors
from barque.spi.runtime import RuntimeCreate, RuntimeExec, Stdio
from barque_runtime_runc import hybrid
from barque_runtime_runc.layout import Layout
from barque_runtime_runc.mountinfo import CgroupMount
from barque_runtime_runc.plugin import RuncRuntime


def option(args, name):
    return args[args.index(name) + 1]


def test_command_line_of_create(driver, fake, request_of, tmp_path):
    request = request_of()
    assert driver.runtime_create(request).pid == 4242
    (call,) = fake.calls()
    args = call["args"]
    assert option(args, "--root") == f"{tmp_path}/root/state"
    assert option(args, "--log").startswith(f"/proc/{os.getpid()}/fd/")
    assert option(args, "--bundle") == request.bundle
    assert args[-1] == "c1"
    assert args.index("--debug") < args.index("create") < args.index("--bundle")
    assert call["blocked"] == 0


def test_little_of_the_environment_is_passed_on(driver, fake, request_of, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("LISTEN_FDS", "1")
    driver.runtime_create(request_of())
    assert set(fake.calls()[0]["env"]) <= {"PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "LC_CTYPE"}


def test_config_is_private_and_its_namespaces_hold_for_a_child(driver, request_of):
    namespaces = [
        {"type": "network", "path": "/proc/self/fd/9"},
        {"type": "pid"},
        {"type": "ipc", "path": "/proc/77/ns/ipc"},
    ]
    request = request_of({**SPEC, "linux": {**SPEC["linux"], "namespaces": namespaces}})
    driver.runtime_create(request)
    path = Path(request.bundle, "config.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.get("path") for entry in json.loads(path.read_text())["linux"]["namespaces"]] == [
        f"/proc/{os.getpid()}/fd/9",
        None,
        "/proc/77/ns/ipc",
    ]
    assert namespaces[0]["path"] == "/proc/self/fd/9"


def test_failed_create_leaves_neither_state_nor_config(driver, fake, request_of, tmp_path):
    fake.behave(error='exec: "true": executable file not found in $PATH')
    request = request_of()
    with pytest.raises(errors.NotFound) as raised:
        driver.runtime_create(request)
    assert raised.value.exit_code == 127
    assert os.listdir(request.bundle) == []
    assert os.listdir(tmp_path / "root/work") == []
    fake.behave()
    assert driver.runtime_create(request).pid == 4242


def test_id_is_taken_by_a_container_whose_state_the_runtime_lost(driver, request_of):
    driver.runtime_create(request_of())
    with pytest.raises(errors.AlreadyExists):
        driver.runtime_create(request_of())
    driver.runtime_delete("c1", request_of().root, False)
    driver.runtime_create(request_of())


def test_unknown_container_needs_no_call(driver, fake, tmp_path):
    root = str(tmp_path / "root")
    for call in (
        lambda: driver.runtime_start("c1", root),
        lambda: driver.runtime_state("c1", root),
        lambda: driver.runtime_kill("c1", root, 9, True),
        lambda: driver.runtime_exec(RuntimeExec("c1", root, {"args": ["x"]}, Stdio(0, 1, 2))),
    ):
        with pytest.raises(errors.NotFound):
            call()
    driver.runtime_delete("c1", root, True)
    assert fake.calls() == []
    assert not (tmp_path / "root/work/c1").exists()


def test_exec_reads_its_process_from_memory(driver, fake, request_of):
    request = request_of()
    driver.runtime_create(request)
    fake.behave(pid=99)
    process = {"args": ["é"], "terminal": False}
    assert driver.runtime_exec(RuntimeExec("c1", request.root, process, Stdio(0, 1, 2))).pid == 99
    args = fake.calls()[-1]["args"]
    assert option(args, "--process").startswith(f"/proc/{os.getpid()}/fd/")
    assert json.loads((fake.directory / "process").read_text()) == process
    assert sorted(os.listdir(f"{request.root}/work/c1")) == ["cgroups", "pid"]


def test_stdio_may_be_any_descriptors(driver, fake, request_of, tmp_path):
    """1 and 2 exchanged, which a plain sequence of dup2 would join."""
    fake.behave(stdout="out")
    request = request_of()
    paths = [tmp_path / "one", tmp_path / "two"]
    fds = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    saved = [os.dup(1), os.dup(2)]
    os.dup2(fds[0], 1)
    os.dup2(fds[1], 2)
    try:
        driver.runtime_create(RuntimeCreate("c1", request.bundle, request.root, SPEC, Stdio(0, 2, 1)))
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for fd in (*fds, *saved):
            os.close(fd)
    assert [path.read_text() for path in paths] == ["", "out"]


@pytest.mark.parametrize("status", ["created", "running", "stopped", "paused"])
def test_state(driver, fake, request_of, status):
    driver.runtime_create(request_of())
    fake.behave(stdout=json.dumps({"status": status, "pid": 7, "bundle": "/b"}))
    state = driver.runtime_state("c1", request_of().root)
    assert state.status == status
    assert state.pid == (0 if status == "stopped" else 7)


@pytest.mark.parametrize("answer", ["", "no json", "[]", '{"status":"strange"}'])
def test_state_that_cannot_be_understood(driver, fake, request_of, answer):
    driver.runtime_create(request_of())
    fake.behave(stdout=answer)
    with pytest.raises(errors.Internal):
        driver.runtime_state("c1", request_of().root)


def test_hanging_runtime_is_killed(fake, request_of):
    driver = RuncRuntime("runc", RuncRuntime.Config(path=fake.path, timeout=0.3))
    fake.behave(sleep=60)
    start = time.monotonic()
    with pytest.raises(errors.Unavailable, match="did not end"):
        driver.runtime_create(request_of())
    assert time.monotonic() - start < 5


def test_no_descriptor_is_left(driver, fake, request_of):
    before = len(os.listdir("/proc/self/fd"))
    driver.runtime_create(request_of())
    fake.behave(error="boom")
    with pytest.raises(errors.Internal):
        driver.runtime_start("c1", request_of().root)
    with pytest.raises(errors.Internal):
        driver.runtime_create(request_of(id="c2", stdio=False))
    assert len(os.listdir("/proc/self/fd")) == before


TERMINAL = {**SPEC, "process": {"args": ["sh"], "terminal": True}}


def test_console_that_is_a_pty_master(driver, fake, request_of):
    fake.behave(console=["/dev/ptmx"])
    task = driver.runtime_create(request_of(TERMINAL, stdio=False))
    assert (
        os.ptsname(task.console).startswith("/dev/pts/")
        if hasattr(os, "ptsname")
        else os.isatty(task.console)
    )
    os.close(task.console)


@pytest.mark.row("S8")
@pytest.mark.parametrize("sent", [["/dev/null"], ["/dev/ptmx", "/dev/ptmx"], ["/etc/passwd"], ["/dev/full"]])
def test_console_that_is_none_is_refused(driver, fake, request_of, sent):
    fake.behave(console=sent)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.Internal, match="pty master"):
        driver.runtime_create(request_of(TERMINAL, stdio=False))
    assert len(os.listdir("/proc/self/fd")) == before


def test_console_in_a_directory_with_a_long_name(fake, driver, tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    (deep / "bundle").mkdir()
    fake.behave(console=["/dev/ptmx"])
    task = driver.runtime_create(
        RuntimeCreate("c1", str(deep / "bundle"), str(deep / "root"), TERMINAL, None)
    )
    assert os.isatty(task.console)
    os.close(task.console)
    assert sorted(os.listdir(deep / "root/work/c1")) == ["cgroups", "pid"]


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "-a", "a\n", "x" * 1025])
def test_ids_that_are_no_names(id, tmp_path):
    with pytest.raises(errors.InvalidArgument):
        Layout(str(tmp_path), id)


def test_probe_without_the_program():
    probe = RuncRuntime("runc", RuncRuntime.Config(path="no-such-runtime")).runtime_probe()
    assert not probe.usable
    assert "no-such-runtime" in probe.problems[0].what


def test_probe_tells_the_version(driver, fake):
    fake.behave(stdout="fake version 1\nmore\n")
    assert driver.runtime_probe().facts["version"] == "fake version 1"


HYBRID = [
    CgroupMount("/sys/fs/cgroup/pids", False, False),
    CgroupMount("/sys/fs/cgroup/unified", True, False),
]


@pytest.fixture
def detached(monkeypatch):
    found = []
    monkeypatch.setattr(hybrid, "_detach", found.append)
    monkeypatch.setattr(hybrid, "cgroup_mounts", lambda: HYBRID)
    monkeypatch.setattr(hybrid, "_mount_namespace", lambda pid: f"mnt:[{pid}]")
    monkeypatch.setattr(hybrid, "_is_covered", lambda path: False)
    return found


def test_unified_is_hidden_from_crun_only(detached):
    hybrid.hide_unified("/usr/sbin/runc")
    assert detached == []
    hybrid.hide_unified("/usr/bin/crun")
    assert detached == ["/sys/fs/cgroup/unified"]


def test_covered_unified_is_left_alone(detached, monkeypatch):
    monkeypatch.setattr(hybrid, "_is_covered", lambda path: True)
    hybrid.hide_unified("/usr/bin/crun")
    assert detached == []


def test_pure_v2_is_left_alone(detached, monkeypatch):
    monkeypatch.setattr(hybrid, "cgroup_mounts", lambda: HYBRID[1:])
    hybrid.hide_unified("/usr/bin/crun")
    assert detached == []


@pytest.mark.parametrize("reason", ["shared with the parent", "nothing can be seen", "propagates"])
def test_mounts_of_others_are_not_touched(detached, monkeypatch, reason):
    if reason == "shared with the parent":
        monkeypatch.setattr(hybrid, "_mount_namespace", lambda pid: "" if pid == 1 else "mnt:[1]")
    elif reason == "nothing can be seen":
        monkeypatch.setattr(hybrid, "_mount_namespace", lambda pid: "")
    else:
        monkeypatch.setattr(hybrid, "cgroup_mounts", lambda: [HYBRID[0], CgroupMount("/u", True, True)])
    with pytest.raises(errors.FailedPrecondition, match="hybrid"):
        hybrid.hide_unified("/usr/bin/crun")
    assert detached == []
