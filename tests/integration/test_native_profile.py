"""The native runtime under Docker's default profile: what a container sees, has and may do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from native_bundle import CAPABILITIES, UNIFIED, make_rootfs, mount, write_config

pytestmark = pytest.mark.root

DEFAULT_MASK = 0xA80425FB


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


def fields(status):
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(box, code):
    assert box.run(box.config("sh", "-c", f"exit {code}")).returncode == code


def test_death_by_signal(box):
    assert box.run(box.config("sh", "-c", "sh -c 'kill -9 $PPID'; sleep 1")).returncode in (0, 137)
    config = box.config("sh", "-c", "kill -TERM $$; sleep 5")
    config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
    assert box.run(config).returncode == 143


@pytest.mark.parametrize(
    ("program", "code", "end"),
    [
        ("nothing", 1, 'exec: "nothing": executable file not found in $PATH'),
        ("/nothing", 1, 'exec: "/nothing": stat /nothing: no such file or directory'),
        ("/etc/passwd", 1, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 1, 'exec: "/etc": is a directory'),
    ],
)
def test_program_that_cannot_be_executed(box, program, code, end):
    result = box.run(box.config(program))
    assert result.returncode == code
    assert result.stderr.strip().endswith(end)


@pytest.mark.row("S17")
def test_capability_sets_exactly(box):
    found = fields(box.sh("cat /proc/self/status"))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(found[name], 16) == DEFAULT_MASK
    assert found["Seccomp"] == "2"
    assert found["NoNewPrivs"] == "0"


@pytest.mark.row("S12")
def test_inheritable_and_ambient_are_empty_in_run_and_exec(box):
    found = fields(box.sh("cat /proc/self/status"))
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    box.start("sleep", "1000")
    found = fields(box.call("exec", "box", "cat", "/proc/self/status").stdout)
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0


def test_ambient_capabilities_when_asked_for(box):
    caps = {
        name: ["CAP_NET_RAW"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
    }
    found = fields(box.sh("cat /proc/self/status", capabilities=caps, user={"uid": 1000, "gid": 1000}))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == 1 << 13


def test_user_without_capabilities_and_with_groups(box):
    user = {"uid": 1000, "gid": 1001, "additionalGids": [5, 77], "umask": 0o027}
    found = fields(box.sh("cat /proc/self/status", user=user))
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert found["Groups"].split() == ["5", "77"]
    assert found["Umask"] == "0027"
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
    assert int(found["CapBnd"], 16) == DEFAULT_MASK


def test_home_comes_from_passwd(box):
    assert box.sh("echo $HOME", user={"uid": 1000, "gid": 1000}) == "/home/user\n"
    assert box.sh("echo $HOME", env=["PATH=/bin", "HOME=/x"]) == "/x\n"


@pytest.mark.row("S13")
def test_mount_and_unshare_are_refused(box):
    out = box.sh("mount -t tmpfs x /tmp 2>&1; unshare -m true 2>&1; unshare -U true 2>&1; true")
    assert out.count("denied") + out.count("not permitted") == 3


@pytest.mark.row("S13")
def test_seccomp_refuses_even_with_the_capability(box):
    """CAP_SYS_ADMIN alone must not open mount(2): that EPERM is the filter's."""
    config = box.config("sh", "-c", "mount -t tmpfs x /tmp 2>&1; true")
    for names in config["process"]["capabilities"].values():
        names[:] = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    assert "denied" in box.run(config).stdout
    del config["linux"]["seccomp"]
    assert box.run(config).stdout == ""


@pytest.mark.row("S13")
def test_exec_is_confined_like_init(box):
    script = (
        "grep -E '^(Cap|Seccomp|NoNew|Groups|Uid)' /proc/self/status; cat /proc/self/oom_score_adj /proc/self/cgroup; "
        "for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done; umask"
    )
    config = box.config("sh", "-c", f"({script}) > /tmp/init; sleep 1000")
    config["process"]["oomScoreAdj"] = 300
    config["process"]["noNewPrivileges"] = True
    config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    box.start(config=config)
    result = box.call(
        "exec",
        "box",
        "sh",
        "-c",
        f"({script}) > /tmp/exec; while [ ! -s /tmp/init ]; do sleep 0.05; done; cat /tmp/init; echo --; cat /tmp/exec",
    )
    assert result.returncode == 0, result.stderr
    init, _, other = result.stdout.partition("--\n")
    assert init == other
    assert "Seccomp:\t2" in init
    assert "NoNewPrivs:\t1" in init
    assert "\n300\n" in init
    assert "mount" in box.call("exec", "box", "mount", "-t", "tmpfs", "x", "/tmp").stderr


@pytest.mark.row("S17")
def test_masked_and_readonly_paths(box):
    out = box.sh(
        "for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ -e $p ] && cat $p | wc -c; done;"
        "for p in /proc/acpi /proc/scsi /sys/firmware; do [ -e $p ] && ls -A $p | wc -l; done; true"
    )
    assert set(out.split()) == {"0"}
    out = box.sh("for p in /proc/sys/kernel/hostname /sys/kernel/notes; do (echo x > $p) 2>&1; done; true")
    assert out.count("Read-only") == 2


@pytest.mark.row("S17")
def test_mounts_of_the_default_profile(box):
    lines = [line.split() for line in box.sh("cat /proc/self/mounts").splitlines()]
    found = {fields[1]: (fields[2], set(fields[3].split(","))) for fields in lines}
    assert found["/proc"][0] == "proc"
    assert found["/proc"][1] >= {"rw", "nosuid", "nodev", "noexec"}
    assert found["/dev"][0] == "tmpfs"
    assert found["/dev"][1] >= {"rw", "nosuid", "size=65536k", "mode=755"}
    assert not found["/dev"][1] & {"relatime", "noatime"}
    assert found["/dev/pts"][1] >= {"rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}
    assert found["/sys"] == ("sysfs", {"ro", "nosuid", "nodev", "noexec", "relatime"})
    assert found["/sys/fs/cgroup"][1] >= {"ro", "nosuid", "nodev", "noexec"}
    assert found["/dev/shm"][1] >= {"rw", "nosuid", "nodev", "noexec", "size=65536k"}
    assert found["/dev/mqueue"][0] == "mqueue"
    assert found["/proc/sys"][1] >= {"ro", "nosuid", "nodev", "noexec"}


@pytest.mark.row("S17")
def test_devices_and_links(box):
    lines = box.sh(
        "cd /dev; stat -c '%n %a %t:%T %F' null zero full random urandom tty; for n in fd stdin stdout stderr ptmx; do readlink $n; done"
    ).splitlines()
    assert lines[:6] == [
        f"{name} 666 {major:x}:{minor:x} character special file"
        for name, major, minor in (
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        )
    ]
    assert lines[6:] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]


@pytest.mark.row("S17")
def test_device_cgroup(box):
    out = box.sh(
        "mknod /dev/fuse c 10 229; echo mknod $?; cat /dev/fuse 2>&1; mknod /tmp/n c 1 3; echo x > /tmp/n; echo null $?; rm /tmp/n"
    )
    assert "mknod 0" in out
    assert "not permitted" in out
    assert "null 0" in out


def test_extra_device(box):
    config = box.config("sh", "-c", "stat -c '%a %u %g %t:%T' /dev/deep/loop")
    config["linux"]["devices"] = [
        {"path": "/dev/deep/loop", "type": "b", "major": 7, "minor": 9, "fileMode": 0o640, "uid": 3, "gid": 4}
    ]
    assert box.run(config).stdout == "640 3 4 7:9\n"


def test_namespaces_hostname_and_loopback(box):
    out = box.sh(
        "hostname; echo $$; ip -o addr show lo; for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done"
    )
    lines = out.splitlines()
    assert lines[:2] == ["box", "1"]
    assert "127.0.0.1/8" in lines[2]
    own = {os.readlink(f"/proc/self/ns/{name}") for name in ("ipc", "mnt", "net", "pid", "uts")}
    assert not own & set(lines[-5:])


def test_domain_name_and_annotations(box):
    config = box.config("cat", "/proc/sys/kernel/domainname")
    config["domainname"] = "example.org"
    assert box.run(config).stdout == "example.org\n"


def test_sysctls_reach_the_containers_namespaces_only(box):
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    config = box.config(
        "sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax"
    )
    config["linux"]["sysctl"]["kernel.msgmax"] = "12345"
    assert box.run(config).stdout.split() == ["0", "12345"]
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == before


def test_readonly_root(box):
    config = box.config("sh", "-c", "touch /x 2>&1; touch /dev/shm/x && echo shm")
    config["root"]["readonly"] = True
    out = box.run(config).stdout
    assert "Read-only file system" in out
    assert "shm" in out


def test_working_directory_is_made(box, rootfs):
    try:
        assert box.sh("pwd", cwd="/made/for/it") == "/made/for/it\n"
        assert stat.S_IMODE((rootfs / "made/for").stat().st_mode) == 0o755
    finally:
        for path in ("made/for/it", "made/for", "made"):
            (rootfs / path).rmdir()


def test_program_has_three_descriptors(box):
    assert box.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the listing itself


def test_preserved_descriptors(box, tmp_path):
    write_config(box.bundle, box.config("sh", "-c", "cat <&3; ls /proc/self/fd"))
    (tmp_path / "input").write_text("through\n")
    with (tmp_path / "input").open() as file:
        words = ["run", "-b", str(box.bundle), "--preserve-fds", "1", "box"]
        result = box.call(
            *words,
            before=["bash", "-c", f'exec 3<&{file.fileno()}; exec "$@"', "bash"],
            pass_fds=(file.fileno(),),
        )
    assert result.stdout.split() == ["through", "0", "1", "2", "3", "4"], result


def test_signals_are_at_their_defaults(box):
    found = fields(box.run(box.config("cat", "/proc/self/status")).stdout)
    assert int(found["SigIgn"], 16) == int(found["SigBlk"], 16) == 0


def test_rlimits(box):
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    lines = box.sh("cat /proc/self/limits", rlimits=limits).splitlines()
    assert [line.split()[3:5] for line in lines if line.startswith("Max open files")] == [["100", "200"]]
    assert [line.split()[4:6] for line in lines if line.startswith("Max core file size")] == [["0", "0"]]


def test_rlimit_that_cannot_be_raised_is_an_error_with_its_name(box):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    config = box.config("true")
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": hard + 1}]
    status = fields(Path("/proc/self/status").read_text())
    if int(status["CapEff"], 16) >> 24 & 1:
        pytest.skip("this process may raise limits (CAP_SYS_RESOURCE)")
    result = box.run(config)
    assert result.returncode == 1
    assert "RLIMIT_NOFILE" in result.stderr


def test_cgroup_limits(box):
    config = box.config("sleep", "1000")
    config["linux"]["resources"]["cpu"]["cpus"] = "0"
    config["linux"]["resources"]["blockIO"] = {"weight": 300}
    pid = box.start(config=config)
    if UNIFIED:
        assert box.cgroup_file("memory", "memory.max") == str(256 << 20)
        assert box.cgroup_file("memory", "memory.swap.max") == str(256 << 20)
        assert box.cgroup_file("cpu", "cpu.weight") == "20"
        assert box.cgroup_file("cpu", "cpu.max") == "50000 100000"
    else:
        assert box.cgroup_file("memory", "memory.limit_in_bytes") == str(256 << 20)
        assert box.cgroup_file("memory", "memory.memsw.limit_in_bytes") == str(512 << 20)
        assert box.cgroup_file("cpu", "cpu.shares") == "512"
        assert box.cgroup_file("cpu", "cpu.cfs_quota_us") == "50000"
        assert box.cgroup_file("devices", "devices.list").splitlines()[0] == "c *:* m"
    assert box.cgroup_file("cpuset", "cpuset.cpus") == "0"
    assert box.cgroup_file("pids", "pids.max") == "200"
    assert box.cgroup_file("freezer", "cgroup.procs") == str(pid)
    box.detached("exec", "-d", "box", "sleep", "1000")
    assert len(box.cgroup_file("memory", "cgroup.procs").split()) == 2


def test_own_cgroup_namespace(box):
    procs = f"/sys/fs/cgroup/{'' if UNIFIED else 'memory/'}cgroup.procs"
    config = box.config("sh", "-c", f"cat /proc/self/cgroup; ls {procs}")
    config["linux"]["namespaces"].append({"type": "cgroup"})
    out = box.run(config).stdout
    assert out.splitlines()[-1] == procs
    assert {line.split(":", 2)[2] for line in out.splitlines()[:-1]} == {"/"}


def test_new_time_namespace_has_its_offsets(box):
    config = box.config("cat", "/proc/uptime")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    result = box.run(config)
    assert float(result.stdout.split()[0]) > 1_000_000, result
    assert float(Path("/proc/uptime").read_text().split()[0]) < 1_000_000


def test_personality(box):
    config = box.config("sh", "-c", "cat /proc/self/personality")
    config["linux"]["personality"] = {"domain": "LINUX32"}
    assert int(box.run(config).stdout, 16) == 8


def test_scheduler_and_io_priority(box):
    out = box.sh("cat /proc/self/stat", scheduler={"policy": "SCHED_BATCH", "nice": 7})
    columns = out.rpartition(")")[2].split()
    assert columns[16] == "7"
    assert columns[38] == "3"


@pytest.mark.parametrize("options", [(), ("--no-new-keyring",)])
def test_session_keyring(box, options):
    name = f"box-{os.getpid()}-{len(options)}"
    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), *options, name)
    assert (f"_ses.{name}" in Path("/proc/keys").read_text()) is not bool(options)
