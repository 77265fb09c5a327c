"""The part of the runtime kit about confinement: what the container may, what it sees, and what it has inherited."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from barque.spi.errors import BarqueError
from barque.spi.runtime import RuntimeCapability
from barque.testing import specs
from barque.testing.runtime_lab import FOREVER, RuntimeLab
from barque.testing.runtime_observed import Observed
from barque.testing.static_init import AT_FDCWD, Step, call, exit_with_error, pause, spawn

__all__ = ["RuntimeConfinement"]

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MOUNT = call("mount", b"none\0", b"/tmp\0", b"tmpfs\0", 0, 0)
_S_IFBLK = 0o60000
_PTRACE_TRACEME = 0


class RuntimeConfinement:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    @pytest.mark.row("S12", "S13", "S17")
    @pytest.mark.needs(RuntimeCapability.SECCOMP)
    @pytest.mark.parametrize("no_new_privileges", [False, True])
    def test_capabilities_and_seccomp(self, lab: RuntimeLab, no_new_privileges: bool) -> None:
        spec = lab.spec("a", [FOREVER], noNewPrivileges=no_new_privileges)
        _check_confined(lab.observe(lab.run("a", spec=spec)), no_new_privileges)

    @pytest.mark.row("S12", "S13")
    @pytest.mark.needs(RuntimeCapability.SECCOMP, RuntimeCapability.EXEC)
    def test_exec_is_confined_as_init(self, lab: RuntimeLab) -> None:
        lab.run("a", spec=lab.spec("a", [FOREVER], oomScoreAdj=77))
        process = lab.observe(lab.exec("a", FOREVER, noNewPrivileges=True))
        _check_confined(process, no_new_privileges=True)
        assert process.read("oom_score_adj") == "77\n"
        task = lab.exec("a", lab.program(call("unshare", _CLONE_NEWNS), exit_with_error()))
        assert lab.wait(task) == errno.EPERM

    @pytest.mark.row("S12")
    def test_capabilities_in_five_sets(self, lab: RuntimeLab) -> None:
        kill, chown, raw = "CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"
        sets = {
            "bounding": [kill, chown, raw],
            "permitted": [kill, chown],
            "effective": [kill],
            "inheritable": [kill, chown],
            "ambient": [kill],
        }
        spec = lab.spec("a", [FOREVER], capabilities=sets, user={"uid": 1000, "gid": 1000})
        status = lab.observe(lab.run("a", spec=spec)).status()
        found = {name: int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff", "Inh", "Amb")}
        # After execve by another user than root the ambient ones are all that is permitted (capabilities(7)).
        assert found == {
            "Bnd": 1 << 5 | 1 | 1 << 13,
            "Prm": 1 << 5,
            "Eff": 1 << 5,
            "Inh": 1 << 5 | 1,
            "Amb": 1 << 5,
        }

    @pytest.mark.row("S13")
    @pytest.mark.needs(RuntimeCapability.SECCOMP)
    @pytest.mark.parametrize(
        "step",
        [
            pytest.param(_MOUNT, id="mount"),
            pytest.param(call("unshare", _CLONE_NEWUSER), id="unshare"),
            pytest.param(call("keyctl", 0, -3, 0), id="keyctl"),
        ],
    )
    def test_forbidden_system_calls_are_refused(self, lab: RuntimeLab, step: Step) -> None:
        assert lab.wait(lab.run_steps("a", step, exit_with_error())) == errno.EPERM

    @pytest.mark.row("S13")
    @pytest.mark.needs(RuntimeCapability.SECCOMP)
    def test_seccomp_errno_and_arguments(self, lab: RuntimeLab) -> None:
        """A rule with an errno of its own, for one value of an argument."""
        rule = {
            "names": ["ptrace"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno.EXDEV,
            "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}],
        }
        for value, expected in ((7, errno.EXDEV), (8, 0)):
            program = lab.program(call("ptrace", _PTRACE_TRACEME, value, 0, 0), exit_with_error())
            spec = lab.spec("a", [program])
            spec["linux"]["seccomp"]["syscalls"].append(rule)
            assert lab.wait(lab.run("a", spec=spec)) == expected
            lab.delete("a")

    @pytest.mark.row("S13")
    def test_mount_needs_a_capability_without_seccomp_too(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(_MOUNT, exit_with_error())])
        del spec["linux"]["seccomp"]
        assert lab.wait(lab.run("a", spec=spec)) == errno.EPERM

    @pytest.mark.row("S17")
    def test_masked_paths_show_nothing(self, lab: RuntimeLab) -> None:
        init = lab.observe(lab.run("a", FOREVER))
        masked = [init.path(path) for path in specs.MASKED_PATHS if os.path.exists(init.path(path))]
        for path in masked:
            if os.path.isdir(path):
                assert os.listdir(path) == [], path
            else:
                assert os.stat(path).st_rdev == os.makedev(1, 3), path
                assert Path(path).read_bytes() == b"", path
        assert (init.path("/proc/kcore") in masked) == os.path.exists("/proc/kcore")

    @pytest.mark.row("S17")
    def test_readonly_paths_are_read_only(self, lab: RuntimeLab) -> None:
        init = lab.observe(lab.run("a", FOREVER))
        for path in (*specs.READONLY_PATHS, "/sys"):
            if os.path.exists(path):
                assert os.statvfs(init.path(path)).f_flag & os.ST_RDONLY, path
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            os.open(init.path("/proc/sys/kernel/domainname"), os.O_WRONLY)

    @pytest.mark.row("S17")
    def test_mounts_have_the_options_of_the_spec(self, lab: RuntimeLab) -> None:
        mounts = lab.observe(lab.run("a", FOREVER)).mounts()
        for path in ("/proc", "/dev/mqueue", "/dev/shm", "/sys"):
            assert {"nosuid", "nodev", "noexec"} <= mounts[path].options, path
        assert "ro" in mounts["/sys"].options
        assert "size=65536k" in mounts["/dev"].super_options
        pts = {option.replace("=0", "=") for option in mounts["/dev/pts"].super_options}
        assert {"gid=5", "mode=620", "ptmxmode=666"} <= pts
        for mount in mounts.values():
            assert not any(tag.startswith(("shared:", "master:")) for tag in mount.propagation), mount

    @pytest.mark.row("S17")
    def test_devices(self, lab: RuntimeLab) -> None:
        init = lab.observe(lab.run("a", FOREVER))
        wanted = {
            "null": (1, 3),
            "zero": (1, 5),
            "full": (1, 7),
            "random": (1, 8),
            "urandom": (1, 9),
            "tty": (5, 0),
        }
        for name, (major, minor) in wanted.items():
            status = os.stat(init.path(f"/dev/{name}"))
            assert stat.S_ISCHR(status.st_mode), name
            assert (status.st_rdev, stat.S_IMODE(status.st_mode)) == (os.makedev(major, minor), 0o666), name
        links = {name: os.readlink(init.path(f"/dev/{name}")) for name in ("ptmx", "fd", "stdin")}
        assert links["ptmx"].removeprefix("/dev/") == "pts/ptmx"
        assert (links["fd"], links["stdin"]) == ("/proc/self/fd", "/proc/self/fd/0")

    @pytest.mark.row("S17")
    def test_other_devices_cannot_be_opened(self, lab: RuntimeLab) -> None:
        """/dev/loop0 can be made (CAP_MKNOD) and not opened: the device rules of the cgroup say no."""
        program = lab.program(
            call("mknodat", AT_FDCWD, b"/tmp/loop\0", _S_IFBLK | 0o600, os.makedev(7, 0)),
            call("openat", AT_FDCWD, b"/tmp/loop\0", 0),
            exit_with_error(),
        )
        spec = lab.spec("a", [program])
        spec["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}
        )
        assert lab.wait(lab.run("a", spec=spec)) == errno.EPERM

    @pytest.mark.row("S3")
    def test_payload_has_descriptors_0_to_2_only(self, lab: RuntimeLab) -> None:
        tasks = [lab.run("a", FOREVER)]
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            tasks.append(lab.exec("a", FOREVER))
        for task in tasks:
            assert set(lab.observe(task).descriptors()) == {0, 1, 2}

    @pytest.mark.row("S3")
    @pytest.mark.parametrize("fd", [3, 5, 7, 8, 9, 12, 20])
    def test_working_directory_cannot_be_a_host_descriptor(self, lab: RuntimeLab, fd: int) -> None:
        try:
            task = lab.run("a", spec=lab.spec("a", [FOREVER], cwd=f"/proc/self/fd/{fd}"))
        except BarqueError:
            return
        assert lab.observe(task).is_below_its_root()

    @pytest.mark.row("R12")
    def test_limit_of_processes_holds(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(spawn(), spawn(), spawn(), exit_with_error())])
        spec["linux"]["resources"]["pids"]["limit"] = 3
        assert lab.wait(lab.run("a", spec=spec)) == errno.EAGAIN

    @pytest.mark.row("R12")
    def test_limit_of_memory_holds(self, lab: RuntimeLab) -> None:
        """MAP_POPULATE stops at the limit, where the kernel kills the process."""
        populate, size = 0x8022, 96 << 20
        spec = lab.spec("a", [lab.program(call("mmap", 0, size, 3, populate, -1, 0), pause())])
        swap = {"swap": 16 << 20} if len(Path("/proc/swaps").read_text().splitlines()) > 1 else {}
        spec["linux"]["resources"]["memory"] = {"limit": 16 << 20, **swap}
        task = lab.run("a", spec=spec)
        assert lab.wait(task) == -9


def _check_confined(process: Observed, no_new_privileges: bool) -> None:
    status = process.status()
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == specs.CAPABILITY_MASK, name
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == str(int(no_new_privileges))
