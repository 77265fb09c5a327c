"""Hooks of all six kinds: where they run, with what, and what a failing one means."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from native_bundle import make_rootfs, mount, write_config

pytestmark = pytest.mark.root

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
INSIDE = ("createContainer", "startContainer")
LOGGED = ("poststart", "poststop")
NAMESPACES = ("mnt", "net", "uts", "ipc", "pid")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


@pytest.fixture
def log(tmp_path):
    log = tmp_path / "log"
    log.mkdir(mode=0o777)
    log.chmod(0o777)
    return log


def shell(script, **more):
    """A hook that is /bin/sh outside and inside."""
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def config_with(box, log, hooks, *args):
    config = box.config(*(args or ("true",)))
    config["mounts"].append(mount(str(log), "bind", str(log), "bind", "rw"))
    config["hooks"] = hooks
    return config


def test_namespaces_of_each_kind(box, log):
    script = f"for n in {' '.join(NAMESPACES)}; do readlink /proc/self/ns/$n; done > {log}/$0; ls -d /proc/1 >/dev/null"
    hooks = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind]}] for kind in KINDS}
    config = config_with(box, log, hooks, "sh", "-c", script, "init")
    result = box.run(config)
    assert result.returncode == 0, result.stderr
    host = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
    init = (log / "init").read_text().split()
    assert not set(host) & set(init)
    for kind in KINDS:
        found = (log / kind).read_text().split()
        # the procfs that createContainer sees is the host's: before pivot_root it has no other
        assert found == (init if kind in INSIDE else host), kind


def test_path_of_create_container_is_the_runtimes(box, log, tmp_path, rootfs):
    """It runs in the container's namespaces, before pivot_root: the file is the host's, and the rootfs is at its place."""
    program = tmp_path / "only-outside"
    program.write_text(f"#!/bin/sh\nhostname > {log}/name; ls {rootfs}/proc | grep -c '^1$' >> {log}/name\n")
    program.chmod(0o755)
    result = box.run(config_with(box, log, {"createContainer": [{"path": str(program)}]}))
    assert result.returncode == 0, result.stderr
    assert (log / "name").read_text().split() == ["box", "1"]


def test_several_of_a_kind_run_in_their_order(box, log):
    hooks = {kind: [shell(f"echo {kind}{n} >> {log}/order") for n in range(3)] for kind in KINDS}
    result = box.run(config_with(box, log, hooks))
    assert result.returncode == 0, result.stderr
    order = (log / "order").read_text().split()
    expected = [f"{kind}{n}" for kind in KINDS for n in range(3)]
    assert order[:12] == expected[:12]
    # poststart runs beside a program that ends at once
    assert sorted(order) == sorted(expected)


def test_state_of_each_kind(box, log):
    hooks = {kind: [shell(f"cat > {log}/{kind}")] for kind in KINDS}
    config = config_with(box, log, hooks, "sleep", "1000")
    config["annotations"] = {"org.example.key": "value"}
    pid = box.start(config=config)
    assert box.call("delete", "--force", "box").returncode == 0
    statuses = dict.fromkeys(("prestart", "createRuntime", "createContainer"), "creating")
    statuses.update(startContainer="created", poststart="running", poststop="stopped")
    for kind, status in statuses.items():
        state = json.loads((log / kind).read_text())
        assert state["ociVersion"] == "1.0.2"
        assert state["id"] == "box"
        assert state["status"] == status, kind
        assert state["bundle"] == str(box.bundle)
        assert state["annotations"] == {"org.example.key": "value"}
        assert state["pid"] == pid or kind == "poststop", kind


def test_arguments_and_environment(box, log):
    write = f'echo "$0|$1|$A|$B|$RUNTIME" > {log}/$K'
    hooks = {
        kind: [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", write, "zero", "one"],
                "env": ["A=1", "B=a=b", f"K={kind}"],
            }
        ]
        for kind in KINDS
    }
    write_config(box.bundle, config_with(box, log, hooks))
    result = box.call("run", "-b", str(box.bundle), "box", before=["env", "RUNTIME=secret"])
    assert result.returncode == 0, result.stderr
    assert {(log / kind).read_text() for kind in KINDS} == {"zero|one|1|a=b|\n"}


def test_environment_that_is_not_given_is_the_callers_and_inside_the_containers(box, log):
    hooks = {kind: [shell(f'echo "$RUNTIME|$CONTAINER" > {log}/{kind}')] for kind in KINDS}
    config = config_with(box, log, hooks)
    config["process"]["env"].append("CONTAINER=1")
    write_config(box.bundle, config)
    assert box.call("run", "-b", str(box.bundle), "box", before=["env", "RUNTIME=2"]).returncode == 0
    for kind in KINDS:
        assert (log / kind).read_text() == ("|1\n" if kind == "startContainer" else "2|\n"), kind


def test_start_container_is_confined_as_the_program(box, log):
    script = f"grep -E '^(Cap|Uid|Seccomp:)' /proc/self/status > {log}/$0"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "startContainer"]}
    config = config_with(box, log, {"startContainer": [hook]}, "sh", "-c", script, "init")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert box.run(config).returncode == 0
    assert (log / "startContainer").read_text() == (log / "init").read_text()


def test_hook_gets_no_descriptor_of_the_runtime(box, log):
    hooks = {kind: [shell(f"ls /proc/self/fd > {log}/{kind}")] for kind in KINDS if kind != "createContainer"}
    assert box.run(config_with(box, log, hooks)).returncode == 0
    for kind in hooks:
        assert (log / kind).read_text().split() == ["0", "1", "2", "3"], kind  # 3 is the listing itself


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_failing_hook_means(box, log, kind):
    hooks = {
        kind: [shell("echo said; echo wrong >&2; exit 7"), shell(f"echo > {log}/next")],
        "poststop": [shell(f"echo > {log}/poststop")],
    }
    if kind == "poststop":
        hooks[kind] = [shell("echo said; echo wrong >&2; exit 7"), shell(f"echo > {log}/next")]
    result = box.run(config_with(box, log, hooks, "sh", "-c", f"echo > {log}/program"))
    assert (
        f"error running {kind} hook #0 /bin/sh: exit status 7, stdout: said, stderr: wrong" in result.stderr
    )
    ran = {path.name for path in log.iterdir()}
    if kind in LOGGED:
        assert result.returncode == 0
        assert {"next", "program"} <= ran
    else:
        assert result.returncode == 1
        assert not {"next", "program"} & ran
        assert "poststop" in ran, "what was begun is ended in good order"
    assert not (box.root / "box").exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*{box.cgroup}/box"))


@pytest.mark.parametrize("kind", KINDS)
def test_hook_beyond_its_time_is_killed_with_its_children(box, log, kind):
    script = f"sleep 1000 & echo $! > {log}/child; echo $$ > {log}/self; sleep 1000"
    begin = time.monotonic()
    result = box.run(config_with(box, log, {kind: [shell(script, timeout=1)]}))
    assert time.monotonic() - begin < 15
    assert (
        f"error running {kind} hook #0 /bin/sh: timed out: hook ran past specified timeout of 1s"
        in result.stderr
    )
    assert result.returncode == (0 if kind in LOGGED else 1)
    if kind not in INSIDE:
        for file in ("child", "self"):
            assert not running(int((log / file).read_text())), file


def running(pid):
    """Whether the process is there and no zombie, given a moment."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return False
        except (FileNotFoundError, ProcessLookupError):
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("hook", "field"),
    [
        ({}, "path"),
        ({"path": "bin/sh"}, "path"),
        ({"path": "/bin/sh", "timeout": 0}, "timeout"),
        ({"path": "/bin/sh", "timeout": "1"}, "timeout"),
        ({"path": "/bin/sh", "args": "x"}, "args"),
        ({"path": "/bin/sh", "env": [1]}, "env"),
    ],
)
def test_wrong_hook_is_refused_by_name(box, kind, hook, field):
    config = box.config("true")
    config["hooks"] = {kind: [hook]}
    result = box.run(config)
    assert result.returncode == 1
    assert f"hooks.{kind}[0].{field}" in result.stderr


def test_program_that_is_not_there_is_named(box):
    config = box.config("true")
    config["hooks"] = {"createRuntime": [{"path": "/nothing"}]}
    result = box.run(config)
    assert result.returncode == 1
    assert "createRuntime hook #0 /nothing: exit status 127" in result.stderr
    assert "No such file" in result.stderr
