"""The part of the runtime kit about fields of the config: mounts, limits, namespaces, cgroups, hooks."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCapability
from barque.testing.runtime_lab import FOREVER, RuntimeLab, eventually
from barque.testing.runtime_rootfs import program_bytes
from barque.testing.static_init import AT_FDCWD, RESULT, Step, call, copy, exit_with, exit_with_error

__all__ = ["RuntimeSettings"]

_O_WRONLY, _O_APPEND, _O_CREAT = 0o1, 0o2000, 0o100
_FIRST_SUBORDINATE, _SUBORDINATES = 200_000, 65_536
_MIB = 1 << 20


class RuntimeSettings:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    # Process

    @pytest.mark.row("S17")
    def test_user_groups_and_umask(self, lab: RuntimeLab) -> None:
        user = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o077}
        status = lab.observe(lab.run("a", spec=lab.spec("a", [FOREVER], user=user))).status()
        assert (status["Uid"].split(), status["Gid"].split()) == (["5"] * 4, ["6"] * 4)
        assert {"7", "8"} <= set(status["Groups"].split()) <= {"6", "7", "8"}
        assert status["Umask"] == "0077"

    def test_rlimits(self, lab: RuntimeLab) -> None:
        limits = [
            {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_STACK", "soft": 4 * _MIB, "hard": 8 * _MIB},
        ]
        found = lab.observe(lab.run("a", spec=lab.spec("a", [FOREVER], rlimits=limits))).limits()
        assert found["Max open files"] == ("77", "77")
        assert found["Max core file size"] == ("0", "0")
        assert found["Max stack size"] == (str(4 * _MIB), str(8 * _MIB))

    def test_soft_limit_of_open_files(self, lab: RuntimeLab) -> None:
        limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]
        tasks = [lab.run("a", spec=lab.spec("a", [FOREVER], rlimits=limits))]
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            tasks.append(lab.exec("a", FOREVER, rlimits=limits))
        for task in tasks:
            assert lab.observe(task).limits()["Max open files"] == ("77", "78")

    def test_oom_score(self, lab: RuntimeLab) -> None:
        init = lab.observe(lab.run("a", spec=lab.spec("a", [FOREVER], oomScoreAdj=321)))
        assert init.read("oom_score_adj") == "321\n"

    def test_working_directory_is_made(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [FOREVER], cwd="/dev/shm/new/one")
        init = lab.observe(lab.run("a", spec=spec))
        assert os.path.samefile(f"/proc/{init.pid}/cwd", init.path("/dev/shm/new/one"))

    # Mounts

    def test_read_only_root(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(call("mkdirat", AT_FDCWD, b"/new\0", 0o755), exit_with_error())])
        spec["root"]["readonly"] = True
        assert lab.wait(lab.run("a", spec=spec)) == errno.EROFS

    def test_writable_root(self, lab: RuntimeLab) -> None:
        path = b"/tmp/new\0"
        task = lab.run_steps("a", call("mkdirat", AT_FDCWD, path, 0o755), exit_with_error())
        assert lab.wait(task) == 0
        (lab.rootfs / "tmp/new").rmdir()

    def test_read_only_bind_mount(self, lab: RuntimeLab, tmp_path: Path) -> None:
        source = tmp_path / "shared"
        source.mkdir()
        (source / "word").write_text("bound\n")
        program = lab.program(
            *_read_file("/mnt/word"), call("mkdirat", AT_FDCWD, b"/mnt/x\0", 0o755), exit_with_error()
        )
        spec = lab.spec("a", [program])
        spec["mounts"].append(_bind(source, "/mnt", "ro"))
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == errno.EROFS
        assert lab.output(task) == "bound\n"
        assert sorted(os.listdir(source)) == ["word"]

    def test_options_of_bind_and_tmpfs(self, lab: RuntimeLab, tmp_path: Path) -> None:
        spec = lab.spec("a", [FOREVER])
        options = ["nosuid", "nodev", "noexec", "mode=1700", "size=128k"]
        spec["mounts"] += [
            {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs", "options": options},
            _bind(tmp_path, "/mnt", "nosuid", "nodev", "noexec", "noatime"),
        ]
        init = lab.observe(lab.run("a", spec=spec))
        mounts = init.mounts()
        assert {"nosuid", "nodev", "noexec"} <= mounts["/fresh"].options
        assert {"mode=1700", "size=128k"} <= mounts["/fresh"].super_options
        assert os.stat(init.path("/fresh")).st_mode & 0o7777 == 0o1700
        assert {"nosuid", "nodev", "noexec", "noatime", "rw"} <= mounts["/mnt"].options
        (lab.rootfs / "fresh").rmdir()

    def test_mounts_are_made_in_order(self, lab: RuntimeLab, tmp_path: Path) -> None:
        for name in ("below", "above"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).touch()
        spec = lab.spec("a", [FOREVER])
        spec["mounts"] += [_bind(tmp_path / "below", "/mnt", "rw"), _bind(tmp_path / "above", "/mnt", "rw")]
        assert os.listdir(lab.observe(lab.run("a", spec=spec)).path("/mnt")) == ["above"]

    # Namespaces

    def test_namespace_by_descriptor_path(self, lab: RuntimeLab) -> None:
        path, inode = lab.network_namespace()
        spec = lab.spec("a", [FOREVER], without=["network"])
        spec["linux"]["namespaces"].append({"type": "network", "path": path})
        assert lab.observe(lab.run("a", spec=spec)).namespace("net") == f"net:[{inode}]"

    def test_namespaces_of_another_container(self, lab: RuntimeLab) -> None:
        files = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        other = lab.observe(lab.run("a", FOREVER))
        spec = lab.spec("b", [FOREVER], without=list(files))
        spec["linux"]["namespaces"] += [
            {"type": kind, "path": f"/proc/{other.pid}/ns/{name}"} for kind, name in files.items()
        ]
        init = lab.observe(lab.run("b", spec=spec))
        assert [init.namespace(name) for name in files.values()] == [
            other.namespace(name) for name in files.values()
        ]
        assert init.namespace("mnt") != other.namespace("mnt")

    def test_namespaces_that_are_not_asked_for_are_the_hosts(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [FOREVER], without=["network", "ipc", "uts"])
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] not in ("sysfs", "mqueue")]
        init = lab.observe(lab.run("a", spec=spec))
        for name in ("net", "ipc", "uts"):
            assert init.namespace(name) == os.readlink(f"/proc/self/ns/{name}")

    @pytest.mark.needs(RuntimeCapability.USER_NAMESPACE)
    def test_user_namespace(self, lab: RuntimeLab) -> None:
        task = lab.run("a", spec=_with_user_namespace(lab.spec("a", [FOREVER])))
        init = lab.observe(task)
        assert init.namespace("user") != os.readlink("/proc/self/ns/user")
        mapping = ["0", str(_FIRST_SUBORDINATE), str(_SUBORDINATES)]
        assert init.read("uid_map").split() == init.read("gid_map").split() == mapping
        assert init.status()["Uid"].split() == [str(_FIRST_SUBORDINATE)] * 4
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            process = lab.observe(lab.exec("a", FOREVER, user={"uid": 7, "gid": 8}))
            assert process.namespace("user") == init.namespace("user")
            assert process.status()["Uid"].split() == [str(_FIRST_SUBORDINATE + 7)] * 4

    def test_sysctl(self, lab: RuntimeLab) -> None:
        name = "net.ipv4.ip_unprivileged_port_start"
        spec = lab.spec("a", [lab.program(*_read_file(f"/proc/sys/{name.replace('.', '/')}"))])
        spec["linux"]["sysctl"] = {name: "7"}
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == 0
        assert lab.output(task) == "7\n"

    def test_sysctl_of_the_host_is_refused(self, lab: RuntimeLab) -> None:
        before = Path("/proc/sys/vm/swappiness").read_text()
        spec = lab.spec("a", ["true"])
        spec["linux"]["sysctl"] = {"vm.swappiness": before.strip()}
        with pytest.raises(BarqueError):
            lab.run("a", spec=spec)

    # Cgroups

    def test_limits_are_in_force_before_start(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["true"])
        spec["linux"]["resources"]["cpu"] = {"quota": 50_000, "period": 100_000, "shares": 512}
        task = lab.create("a", spec=spec)
        assert task.pid in lab.members("a")
        assert lab.limit("a", "pids.max") == "64"
        assert lab.limit("a", "memory.limit_in_bytes", "memory.max") == str(64 * _MIB)
        assert lab.limit("a", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
        assert lab.limit("a", "cpu.shares", "cpu.weight") in ("512", "20", "59")  # v1; v2 by either formula
        lab.start("a")
        assert lab.wait(task) == 0

    def test_cgroup_path_may_be_deep(self, lab: RuntimeLab) -> None:
        task = lab.run("a/b/c".replace("/", "-"), spec=_at_cgroup(lab, "deep/er/a"))
        assert task.pid in lab.members("deep/er/a")
        lab.delete("a-b-c", force=True)
        assert lab.cgroups("deep/er/a") == []
        for path in (*lab.cgroups("deep/er"), *lab.cgroups("deep")):
            os.rmdir(path)

    # Hooks

    def test_hooks_are_called_in_order_with_the_state(self, lab: RuntimeLab, tmp_path: Path) -> None:
        """Each kind of hook writes its name and what it reads on stdin; startContainer is a program of the container."""
        log = tmp_path / "log"
        task = lab.create("a", spec=_with_hooks(lab, log))
        assert [name for name, _ in _hook_calls(log)][:3] == ["prestart", "createRuntime", "createContainer"]
        lab.start("a")
        inside = tmp_path / "inside"  # poststart may be called at the same moment: a log of its own
        assert eventually(lambda: len(_hook_calls(log)) == 4 and len(_hook_calls(inside)) == 1)
        assert [name for name, _ in (_hook_calls(log)[3], *_hook_calls(inside))] == [
            "poststart",
            "startContainer",
        ]
        lab.kill("a")
        lab.wait(task)
        lab.delete("a")
        calls = [*_hook_calls(inside), *_hook_calls(log)]
        assert calls[-1][0] == "poststop"
        assert {state["id"] for _, state in calls} == {"a"}
        assert {state["pid"] for name, state in calls if name == "createRuntime"} == {task.pid}
        assert calls[-1][1]["status"] == "stopped"

    def test_poststart_hook_is_called_after_the_start(self, lab: RuntimeLab, tmp_path: Path) -> None:
        log = tmp_path / "log"
        lab.create("a", spec=_with_hooks(lab, log))
        assert "poststart" not in dict(_hook_calls(log))
        lab.start("a")
        assert eventually(lambda: "poststart" in dict(_hook_calls(log)))
        assert dict(_hook_calls(log))["poststart"]["status"] == "running"

    def test_hook_that_fails_fails_the_create(self, lab: RuntimeLab, tmp_path: Path) -> None:
        hook = tmp_path / "hook"
        hook.write_bytes(program_bytes(exit_with(3)))
        hook.chmod(0o755)
        spec = lab.spec("a", ["true"])
        spec["hooks"] = {"createRuntime": [{"path": str(hook)}]}
        with pytest.raises(BarqueError):
            lab.create("a", spec=spec)
        assert lab.cgroups("a") == []
        assert lab.wait(lab.run("a", "true")) == 0


def _bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", "rprivate", *options],
    }


def _at_cgroup(lab: RuntimeLab, path: str) -> dict[str, Any]:
    spec = lab.spec("a", [FOREVER])
    spec["linux"]["cgroupsPath"] = f"/{lab.cgroup}/{path}"
    return spec


def _read_file(path: str) -> tuple[Step, ...]:
    return call("openat", AT_FDCWD, path.encode() + b"\0", 0), copy(RESULT, 1)


def _with_user_namespace(spec: dict[str, Any]) -> dict[str, Any]:
    linux = spec["linux"]
    mapping = [{"containerID": 0, "hostID": _FIRST_SUBORDINATE, "size": _SUBORDINATES}]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = mapping
    return spec


def _hook_steps(name: str, log: str) -> tuple[Step, ...]:
    """Append `NAME STATE\\0` to a file: descriptor 1 is not the hook's to use, so the file becomes a high one."""
    text = name.encode() + b" "
    opened = call("openat", AT_FDCWD, log.encode() + b"\0", _O_WRONLY | _O_APPEND | _O_CREAT, 0o666)
    return (
        opened,
        call("dup3", RESULT, 9, 0),
        call("write", 9, text, len(text)),
        copy(0, 9),
        call("write", 9, b"\0", 1),
    )


def _with_hooks(lab: RuntimeLab, log: Path) -> dict[str, Any]:
    """A container with one hook of each kind; those of the host append to `log`, startContainer to `inside` beside it."""
    log.touch()
    log.with_name("inside").touch()
    spec = lab.spec("a", [FOREVER])
    spec["mounts"].append(_bind(log.parent, "/mnt", "rw"))
    inside = lab.program(*_hook_steps("startContainer", "/mnt/inside"))
    spec["hooks"] = {"startContainer": [{"path": inside, "args": ["startContainer"]}]}
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        path = log.parent / kind
        path.write_bytes(program_bytes(*_hook_steps(kind, str(log))))
        path.chmod(0o755)
        spec["hooks"][kind] = [{"path": str(path), "args": [kind]}]
    return spec


def _hook_calls(log: Path) -> list[tuple[str, dict[str, Any]]]:
    calls = (entry.partition(" ") for entry in log.read_text().split("\0")[:-1])
    return [(name, json.loads(state)) for name, _, state in calls]
