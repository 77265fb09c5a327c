"""`process` and what of `linux` belongs to each process: observed from the kernel, in init and in exec."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from native_bundle import import_paths, make_rootfs, mount, write_config
from test_native_hostile import trace

pytestmark = pytest.mark.root

CPUS = sorted(os.sched_getaffinity(0))
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="one CPU says nothing about affinity")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("native"))


def field(status, name):
    return next(line.split(":", 1)[1].strip() for line in status.splitlines() if line.startswith(name + ":"))


# CPU affinity of an exec


def cpus_of_exec(box, *options):
    result = box.call("exec", *options, "box", "cat", "/proc/self/status")
    assert result.returncode == 0, result.stderr
    return field(result.stdout, "Cpus_allowed_list")


@two_cpus
def test_exec_runs_where_the_container_says(box):
    config = box.config("sleep", "1000")
    config["process"]["execCPUAffinity"] = {"final": str(CPUS[1])}
    pid = box.start(config=config)
    assert len(os.sched_getaffinity(pid)) == len(CPUS), "it is not for init"
    assert cpus_of_exec(box) == str(CPUS[1])


@two_cpus
def test_initial_affinity_ends_in_the_containers_cgroup(box):
    config = box.config("sleep", "1000")
    config["process"]["execCPUAffinity"] = {"initial": str(CPUS[0])}
    box.start(config=config)
    assert cpus_of_exec(box) == field(Path("/proc/self/status").read_text(), "Cpus_allowed_list")


@two_cpus
def test_initial_affinity_holds_before_the_cgroup_is_entered(box, tmp_path):
    """Seen by strace: sched_setaffinity before the clone, and again behind the write to the cgroup."""
    config = box.config("sleep", "1000")
    config["process"]["execCPUAffinity"] = {"initial": str(CPUS[0]), "final": str(CPUS[1])}
    box.start(config=config)
    calls = trace(box, tmp_path, "exec", "box", "true", which="sched_setaffinity,clone3,write,setns")
    lines = [line for lines in calls.values() for line in lines]
    parent = next(lines for lines in calls.values() if any(line.startswith("clone3") for line in lines))
    child = next(lines for lines in calls.values() if any("CLONE_NEWNS" in line for line in lines))
    names = [line.split("(")[0] for line in parent]
    assert names.index("sched_setaffinity") < names.index("clone3"), lines
    entered = max(i for i, line in enumerate(child) if line.startswith(("write", "setns")))
    final = next(
        i for i, line in enumerate(child) if line.startswith(f"sched_setaffinity(0, 8, [{CPUS[1]}])")
    )
    assert next(i for i, line in enumerate(child) if line.startswith("write")) < final < entered, child


@two_cpus
def test_the_execs_own_affinity_goes_before_the_containers(box, tmp_path):
    config = box.config("sleep", "1000")
    config["process"]["execCPUAffinity"] = {"final": str(CPUS[0])}
    box.start(config=config)
    process = {
        **config["process"],
        "args": ["cat", "/proc/self/status"],
        "execCPUAffinity": {"final": str(CPUS[1])},
    }
    (tmp_path / "process.json").write_text(json.dumps(process))
    result = box.call("exec", "--process", str(tmp_path / "process.json"), "box")
    assert field(result.stdout, "Cpus_allowed_list") == str(CPUS[1])


def test_cpu_that_is_not_there_is_named(box):
    config = box.config("sleep", "1000")
    config["process"]["execCPUAffinity"] = {"initial": "8000"}
    box.start(config=config)
    result = box.call("exec", "box", "true")
    assert result.returncode == 255
    assert "process.execCPUAffinity.initial" in result.stderr


# Memory policy, personality


def test_memory_policy_in_init_and_exec(box):
    config = box.config("sleep", "1000")
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    pid = box.start(config=config)
    assert "bind=static:0" in Path(f"/proc/{pid}/numa_maps").read_text()
    maps = box.call("exec", "box", "cat", "/proc/self/numa_maps").stdout
    assert "bind=static:0" in maps


def test_memory_policy_that_the_kernel_refuses(box):
    config = box.config("true")
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "900"}
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.memoryPolicy: the kernel refused MPOL_BIND" in result.stderr
    assert not (box.root / "box").exists()


def test_personality_of_an_exec(box):
    config = box.config("sleep", "1000")
    config["linux"]["personality"] = {"domain": "LINUX32"}
    box.start(config=config)
    result = box.call("exec", "box", "sh", "-c", "cat /proc/self/personality")
    assert int(result.stdout, 16) == 8


# Scheduler and input/output priority


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, os.SCHED_OTHER, 5),
        ({"policy": "SCHED_BATCH", "nice": 3}, os.SCHED_BATCH, 3),
        ({"policy": "SCHED_IDLE"}, os.SCHED_IDLE, 0),
        ({"policy": "SCHED_OTHER", "nice": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, os.SCHED_OTHER, 4),
    ],
)
def test_schedulers_in_init_and_exec(box, scheduler, policy, nice):
    config = box.config("sleep", "1000")
    config["process"]["scheduler"] = scheduler
    init = box.start(config=config)
    box.detached("exec", "-d", "--pid-file", str(box.directory / "exec"), "box", "sleep", "1000")
    for pid in (init, int((box.directory / "exec").read_text())):
        assert os.sched_getscheduler(pid) & 0xFF == policy
        assert os.getpriority(os.PRIO_PROCESS, pid) == nice
        reset = bool(os.sched_getscheduler(pid) & os.SCHED_RESET_ON_FORK)
        assert reset is bool(scheduler.get("flags"))


@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_real_time_scheduler_or_an_error_with_its_name(box, policy):
    config = box.config("sleep", "1000")
    config["process"]["scheduler"] = {"policy": policy, "priority": 7}
    try:
        pid = box.start(config=config)
    except AssertionError as error:
        assert f"process.scheduler: {policy}" in str(error)  # noqa: PT017 - a kernel with real-time group scheduling
        return
    assert os.sched_getscheduler(pid) == {"SCHED_FIFO": os.SCHED_FIFO, "SCHED_RR": os.SCHED_RR}[policy]
    assert os.sched_getparam(pid).sched_priority == 7


@pytest.mark.parametrize(
    ("name", "level", "value"),
    [
        ("IOPRIO_CLASS_RT", 2, 1 << 13 | 2),
        ("IOPRIO_CLASS_BE", 6, 2 << 13 | 6),
        ("IOPRIO_CLASS_IDLE", 0, 3 << 13),
    ],
)
def test_io_priorities_in_init_and_exec(box, name, level, value):
    config = box.config("sleep", "1000")
    config["process"]["ioPriority"] = {"class": name, "priority": level}
    init = box.start(config=config)
    box.detached("exec", "-d", "--pid-file", str(box.directory / "exec"), "box", "sleep", "1000")
    for pid in (init, int((box.directory / "exec").read_text())):
        assert ctypes.CDLL(None).syscall(252, 1, pid, 0) == value


# Limits, groups, labels, warnings

LIMITS = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()


@pytest.mark.parametrize("entry", ["run", "exec"])
def test_every_resource_limit(box, entry):
    wanted = {}
    for number, name in enumerate(LIMITS):
        soft, hard = resource.prlimit(os.getpid(), number)
        big = 1 << 40 if hard == resource.RLIM_INFINITY else hard
        wanted[name] = (soft if 0 <= soft < big else max(0, big - 1), big)
    config = box.config("sleep", "1000")
    config["process"]["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()
    ]
    pid = box.start(config=config)
    if entry == "exec":
        box.detached("exec", "-d", "--pid-file", str(box.directory / "exec"), "box", "sleep", "1000")
        pid = int((box.directory / "exec").read_text())
    for number, name in enumerate(LIMITS):
        assert resource.prlimit(pid, number) == wanted[name], name


@pytest.mark.row("S11")
def test_groups_are_exactly_those_given(box):
    """Not those of the runtime, nor those that the image's /etc/group names (CVE-2022-36109)."""
    config = box.config("sh", "-c", "grep ^Groups /proc/self/status")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert box.run(config).stdout.split() == ["Groups:"]
    config["process"]["user"]["additionalGids"] = [4294967294, 7]
    assert box.run(config).stdout.split() == ["Groups:", "7", "4294967294"]


@pytest.mark.row("S10")
@pytest.mark.parametrize("uid", [1, 4294967294])
def test_uid_is_exactly_the_one_given(box, rootfs, uid):
    """A user of the image whose name is a number does not matter: the runtime looks no name up (CVE-2016-3697)."""
    passwd = rootfs / "etc/passwd"
    before = passwd.read_text()
    passwd.write_text(f"{uid}:x:0:0::/root:/bin/sh\n1000:x:0:0::/:/bin/sh\n{before}")
    try:
        status = box.sh("cat /proc/self/status", user={"uid": uid, "gid": 5})
    finally:
        passwd.write_text(before)
    assert field(status, "Uid").split() == [str(uid)] * 4
    assert int(field(status, "CapEff"), 16) == 0


@pytest.mark.row("S10")
@pytest.mark.parametrize("uid", [-1, 4294967295, 4294967296, "0", "1", 0.0, None])
def test_uid_that_is_none_never_becomes_root(box, uid):
    config = box.config("id", "-u")
    config["process"]["user"] = {"uid": uid, "gid": 0}
    result = box.run(config)
    if uid is None:
        return  # as if it were not there: the specification's default
    assert result.returncode == 1
    assert "process.user.uid" in result.stderr
    write_config(box.bundle, box.config("true"))
    assert box.call("exec", "-u", str(uid), "box", "id").returncode == 255


@pytest.mark.parametrize(
    ("key", "module"), [("apparmorProfile", "apparmor/profiles"), ("selinuxLabel", "../fs/selinux/enforce")]
)
def test_label_without_its_module_is_refused_by_name(box, key, module):
    if Path(f"/sys/kernel/security/{module}").exists():
        pytest.skip("the module is at work here")
    config = box.config("true")
    config["process"][key] = "label"
    result = box.run(config)
    assert result.returncode == 1
    assert f"process.{key}: " in result.stderr
    assert "not supported" in result.stderr
    box.start("sleep", "1000")
    (box.directory / "process.json").write_text(json.dumps(config["process"]))
    result = box.call("exec", "--process", str(box.directory / "process.json"), "box")
    assert f"process.{key}: " in result.stderr


@pytest.mark.row("S12")
def test_inheritable_and_ambient_stay_empty_when_not_asked_for(box):
    """Whatever the runtime itself has inheritable or ambient (CVE-2022-24769), for root and for another user."""
    for user in ({"uid": 0, "gid": 0}, {"uid": 1000, "gid": 1000}):
        config = box.config("cat", "/proc/self/status")
        config["process"]["user"] = user
        write_config(box.bundle, config)
        result = box.call(
            "run", "-b", str(box.bundle), "box",
            before=["setpriv", "--inh-caps", "+chown,+net_raw", "--ambient-caps", "+chown,+net_raw"],
        )  # fmt: skip
        assert int(field(result.stdout, "CapInh"), 16) == int(field(result.stdout, "CapAmb"), 16) == 0


def test_unknown_capability_is_a_warning_in_the_log(box, tmp_path):
    config = box.config("true")
    config["process"]["capabilities"]["bounding"].append("CAP_NONSENSE")
    write_config(box.bundle, config)
    result = box.call(
        "--log", str(tmp_path / "log"), "--log-format", "json", "run", "-b", str(box.bundle), "box"
    )
    assert (result.returncode, result.stderr) == (0, "")
    line = (tmp_path / "log").read_text()
    assert '"level":"warning"' in line.replace(" ", "")
    assert "CAP_NONSENSE" in line


@pytest.mark.row("S9")
@pytest.mark.parametrize("entry", ["run", "exec"])
def test_oom_score_is_written_to_the_kernel_whatever_proc_is_in_the_container(box, entry):
    """/proc of the container is a tmpfs with files of the right names (CVE-2019-16884, CVE-2025-52881)."""
    config = box.config(
        "sh", "-c", "mkdir -p /proc/self /proc/sys; echo image > /proc/self/oom_score_adj; sleep 1000"
    )
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/proc"]
    config["mounts"].insert(0, mount("/proc", "tmpfs", "tmpfs"))
    for key in ("maskedPaths", "readonlyPaths"):
        config["linux"][key] = []
    config["process"]["oomScoreAdj"] = 700
    pid = box.start(config=config)
    if entry == "exec":
        box.detached("exec", "-d", "--pid-file", str(box.directory / "exec"), "box", "sleep", "1000")
        pid = int((box.directory / "exec").read_text())
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "700\n"
    assert box.call("exec", "box", "cat", "/proc/self/oom_score_adj").stdout in ("image\n", "")


@pytest.mark.row("S9")
@pytest.mark.parametrize(
    "place", ["sys/net/ipv4/ip_unprivileged_port_start", "self/oom_score_adj", "sys/fs/mqueue"]
)
def test_file_mounted_over_one_of_the_kernels_gets_nothing(box, tmp_path, place):
    """The runtime's own /proc is covered (CVE-2025-52881). The files that count are those of the new process and of the
    new namespaces: no cover is on them."""
    cover = tmp_path / "cover"
    file = cover / "msg_max" if place == "sys/fs/mqueue" else cover
    file.parent.mkdir(exist_ok=True)
    file.write_text("cover")
    config = box.config("sh", "-c", "cat /proc/sys/fs/mqueue/msg_max /proc/self/oom_score_adj")
    config["process"]["oomScoreAdj"] = 500
    config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0", "fs.mqueue.msg_max": "77"}
    write_config(box.bundle, config)
    script = (
        f'mount --make-rprivate / && mount --bind {cover} /proc/{place.replace("self", "$$")} && exec "$@"'
    )
    words = ["run", "-b", str(box.bundle), "box"]
    result = box.call(*words, before=["unshare", "-m", "sh", "-c", script, "sh"])
    assert result.stdout.split() == ["77", "500"], result
    assert file.read_text() == "cover"


@pytest.mark.row("S9")
def test_mount_on_the_way_is_an_error():
    script = (
        "import os; from barque_runtime_native.kernel.kernel_files import open_kernel_file; "
        "open_kernel_file(os.open('/proc', os.O_PATH), 'sys/kernel/msgmax', os.O_RDONLY)"
    )
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount --make-rprivate / && mount -t tmpfs x /proc/sys && exec "$@"', "sh",
         sys.executable, "-c", script],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert "FailedPrecondition: /proc/sys/kernel/msgmax is behind another mount" in result.stderr


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kernel.core_pattern", "is not in a separate kernel namespace"),
        ("kernel/core_pattern", "is not in a separate kernel namespace"),
        ("net/../kernel/core_pattern", "is not a name"),
        ("kernel.hostname", 'conflicts with the OCI "hostname" field'),
        ("net.ipv4.no_such_thing", "net.ipv4.no_such_thing"),
    ],
)
def test_sysctl_that_is_not_the_containers_is_refused(box, name, words):
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    config = box.config("true")
    config["linux"]["sysctl"] = {name: "|/bin/false"}
    result = box.run(config)
    assert result.returncode == 1
    assert "sysctl" in result.stderr
    assert words in result.stderr
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("kind", "file", "name"),
    [("network", "net", "net.ipv4.ip_forward"), ("ipc", "ipc", "kernel.shm_rmid_forced")],
)
def test_sysctl_of_the_hosts_namespace_is_refused(box, kind, file, name):
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text()
    for by_path in (False, True):
        config = box.config("true")
        config["linux"]["sysctl"] = {name: "7"}
        spaces = [each for each in config["linux"]["namespaces"] if each["type"] != kind]
        config["linux"]["namespaces"] = [
            *spaces,
            *([{"type": kind, "path": f"/proc/{os.getpid()}/ns/{file}"}] if by_path else []),
        ]
        result = box.run(config)
        assert result.returncode == 1
        assert f'sysctl "{name}" not allowed in host {kind} namespace' in result.stderr
    assert path.read_text() == before


@pytest.mark.row("S15")
@pytest.mark.parametrize("name", ["net.ipv4.conf.lo.rp_filter", "net/ipv4/conf/lo/rp_filter"])
def test_sysctl_in_both_forms(box, name):
    config = box.config("cat", "/proc/sys/net/ipv4/conf/lo/rp_filter")
    config["linux"]["sysctl"] = {name: "2"}
    assert box.run(config).stdout == "2\n"
    assert Path("/proc/sys/net/ipv4/conf/lo/rp_filter").read_text() != "2\n"


def test_sysctl_of_an_own_user_namespace(box, tmp_path):
    config = box.config("cat", "/proc/sys/user/max_net_namespaces")
    mapping = [{"containerID": 0, "hostID": 0, "size": 4294967294}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping, sysctl={"user.max_net_namespaces": "3"})
    config["linux"]["namespaces"].append({"type": "user"})
    result = box.run(config)
    if "hostID" in result.stderr or "mapping" in result.stderr:
        pytest.skip(result.stderr)
    assert result.stdout == "3\n", result.stderr
    assert Path("/proc/sys/user/max_net_namespaces").read_text() != "3\n"
