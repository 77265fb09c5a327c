"""The part of the runtime kit that looks from inside: what the container may, sees and has inherited."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCapability
from barque.testing import specs
from barque.testing.runtime_lab import RuntimeLab

__all__ = ["RuntimeConfinement"]

_STATUS = ("sh", "-c", "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; cat /proc/self/oom_score_adj")


class RuntimeConfinement:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    @pytest.mark.row("S12", "S13", "S17")
    @pytest.mark.needs(RuntimeCapability.SECCOMP)
    @pytest.mark.parametrize("no_new_privileges", [False, True])
    def test_capabilities_and_seccomp(self, lab: RuntimeLab, no_new_privileges: bool) -> None:
        task = lab.run("a", spec=lab.spec("a", _STATUS, noNewPrivileges=no_new_privileges))
        assert lab.wait(task) == 0
        _check_status(lab.output(task), no_new_privileges)

    @pytest.mark.row("S12", "S13")
    @pytest.mark.needs(RuntimeCapability.SECCOMP, RuntimeCapability.EXEC)
    def test_exec_is_confined_as_init(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sleep", "1000"])
        spec["process"]["oomScoreAdj"] = 77
        lab.run("a", spec=spec)
        task = lab.exec("a", "sh", "-c", f"sleep 0.2; {_STATUS[2]}; unshare -m true", noNewPrivileges=True)
        assert lab.wait(task) == 1
        _check_status(lab.output(task), no_new_privileges=True)
        assert lab.output(task).endswith("\n77\n")
        assert "Operation not permitted" in task.stderr.read_text()

    @pytest.mark.row("S13")
    def test_mount_and_unshare_are_refused(self, lab: RuntimeLab) -> None:
        task = lab.run("a", "sh", "-c", "mount -t tmpfs none /tmp; unshare -U true; ls /tmp")
        assert lab.wait(task) == 0
        refusals = task.stderr.read_text().lower()
        assert "mount: permission denied" in refusals  # busybox's words for EPERM
        assert "unshare(0x10000000): operation not permitted" in refusals

    @pytest.mark.row("S17")
    def test_masked_paths_show_nothing(self, lab: RuntimeLab) -> None:
        script = (
            'for p in "$@"; do if [ -d $p ]; then ls -A $p; elif [ -e $p ]; then cat $p; [ $p = /proc/kcore ] && '
            "stat -c %t:%T $p; fi; done"
        )
        task = lab.run("a", "sh", "-c", script, "sh", *specs.MASKED_PATHS)
        lab.wait(task)
        assert lab.output(task) in ("1:3\n", "")
        assert "1:3" in lab.output(task) or not os.path.exists("/proc/kcore")
        assert task.stderr.read_text() == ""

    @pytest.mark.row("S17")
    def test_readonly_paths_are_read_only(self, lab: RuntimeLab) -> None:
        task = lab.run(
            "a",
            "sh",
            "-c",
            "echo x >/proc/sys/kernel/domainname || echo refused; touch /sys/x || echo refused",
        )
        assert lab.wait(task) == 0
        assert lab.output(task) == "refused\nrefused\n"
        assert task.stderr.read_text().count("Read-only file system") == 2

    @pytest.mark.row("S17")
    def test_mounts_have_the_options_of_the_spec(self, lab: RuntimeLab) -> None:
        task = lab.run("a", "cat", "/proc/self/mountinfo")
        assert lab.wait(task) == 0
        mounts = {line.split()[4]: line for line in lab.output(task).splitlines()}
        for path in ("/proc", "/dev/mqueue", "/dev/shm", "/sys"):
            assert {"nosuid", "nodev", "noexec"} <= set(mounts[path].split()[5].split(","))
        assert "ro" in mounts["/sys"].split()[5].split(",")
        assert "size=65536k" in mounts["/dev"]
        assert re.search(r"gid=5,mode=0?620,ptmxmode=0?666", mounts["/dev/pts"])
        assert "shared:" not in lab.output(task)

    @pytest.mark.row("S17")
    def test_devices(self, lab: RuntimeLab) -> None:
        names = ("null", "zero", "full", "random", "urandom", "tty")
        script = "cd /dev; stat -c '%n %t:%T %a' \"$@\"; for l in ptmx fd stdin; do readlink $l; done"
        task = lab.run("a", "sh", "-c", script, "sh", *names)
        lab.wait(task)
        *devices, ptmx, fds, stdin = lab.output(task).splitlines()
        numbers = ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0")
        assert devices == [f"{name} {number} 666" for name, number in zip(names, numbers, strict=True)]
        assert (ptmx.removeprefix("/dev/"), fds, stdin) == ("pts/ptmx", "/proc/self/fd", "/proc/self/fd/0")

    @pytest.mark.row("S3")
    def test_payload_has_descriptors_0_to_2_only(self, lab: RuntimeLab) -> None:
        look = "ls /proc/$$/fd; "
        tasks = [lab.run("a", "sh", "-c", look + "sleep 1000")]
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            tasks.append(lab.exec("a", "sh", "-c", look + "true"))
            lab.wait(tasks[-1])
        lab.kill("a")
        lab.wait(tasks[0])
        for task in tasks:
            assert set(lab.output(task).split()) <= {"0", "1", "2"}

    @pytest.mark.row("S3")
    @pytest.mark.parametrize("fd", [3, 5, 7, 8, 9, 12, 20])
    def test_working_directory_cannot_be_a_host_descriptor(self, lab: RuntimeLab, fd: int) -> None:
        try:
            task = lab.run(
                "a",
                spec=lab.spec(
                    "a", ["ls", "../../../../bin/busybox", "/proc/self/cwd/../.."], cwd=f"/proc/self/fd/{fd}"
                ),
            )
        except BarqueError:
            return
        assert lab.wait(task) != 0

    def test_limits_are_in_force_before_start(self, lab: RuntimeLab) -> None:
        task = lab.create("a", "true")
        found = {path: Path(path).read_text().strip() for path in _limit_files(lab)}
        assert set(found.values()) == {"64", str(64 << 20)}, found
        lab.start("a")
        assert lab.wait(task) == 0

    @pytest.mark.row("R12")
    def test_limits_hold(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait"])
        spec["linux"]["resources"]["pids"]["limit"] = 3
        task = lab.run("a", spec=spec)
        lab.wait(task)
        assert "can't fork" in task.stderr.read_text()

    def test_namespace_by_descriptor_path(self, lab: RuntimeLab) -> None:
        path, inode = lab.network_namespace()
        spec = lab.spec("a", ["readlink", "/proc/self/ns/net"], without=["network"])
        spec["linux"]["namespaces"].append({"type": "network", "path": path})
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == 0
        assert lab.output(task) == f"net:[{inode}]\n"

    def test_sysctl_and_rlimit_of_the_spec(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n"])
        spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
        spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == 0
        assert lab.output(task) == "0\n77\n"

    def test_read_only_root(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["touch", "/file"])
        spec["root"]["readonly"] = True
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == 1
        assert "Read-only file system" in task.stderr.read_text()

    def test_bind_mount(self, lab: RuntimeLab, tmp_path: Path) -> None:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared/word").write_text("bound\n")
        options = ["rbind", "ro", "rprivate"]
        spec = lab.spec("a", ["sh", "-c", "cat /tmp/word; touch /tmp/x"])
        spec["mounts"].append(
            {"destination": "/tmp", "type": "bind", "source": str(tmp_path / "shared"), "options": options}
        )
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == 1
        assert lab.output(task) == "bound\n"
        assert not (tmp_path / "shared/x").exists()


def _check_status(text: str, no_new_privileges: bool) -> None:
    status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == specs.CAPABILITY_MASK, name
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == str(int(no_new_privileges))


def _limit_files(lab: RuntimeLab) -> list[str]:
    names = ("pids.max", "memory.limit_in_bytes", "memory.max")
    return [
        f"{path}/{name}" for path in lab.cgroups("a") for name in names if os.path.exists(f"{path}/{name}")
    ]
