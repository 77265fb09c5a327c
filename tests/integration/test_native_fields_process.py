"""What the fields of `process` and `hooks` do, each observed from the kernel (see `native_fields`)."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import time
from pathlib import Path

import pytest
from native_bundle import make_rootfs, write_config
from native_fields import RLIMITS, shows, shows_each

pytestmark = pytest.mark.root

SYS_SCHED_GETATTR, SYS_IOPRIO_GET = 315, 252
CAPS = {"CAP_CHOWN": 1 << 0, "CAP_KILL": 1 << 5, "CAP_NET_RAW": 1 << 13}
# resource limits that the module `resource` of Python 3.11 has no names for
NUMBERS = {
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}  # fmt: skip
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("fields"))


def status(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@shows("ociVersion", "process.args[]", "process.cwd", "process.env[]", "hostname", "domainname", "root.path")
def test_program(box):
    config = box.config(
        "sh", "-c", 'echo "$0 $1"; pwd; echo $A; hostname; cat /proc/sys/kernel/domainname', "zero", "one"
    )
    config["process"].update(cwd="/etc", env=["PATH=/bin", "A=b c"])
    config.update(hostname="here", domainname="example.org")
    assert box.run(config).stdout.splitlines() == ["zero one", "/etc", "b c", "here", "example.org"]
    config["ociVersion"] = "2.0.0"
    assert "ociVersion 2.0.0 is not supported" in box.run(config).stderr


@shows(
    "process.user.uid", "process.user.gid", "process.user.umask", "process.user.additionalGids[]"
)  # fmt: skip
def test_user(box):
    user = {"uid": 1000, "gid": 1001, "additionalGids": [5, 77], "umask": 0o027}
    found = status(box.sh("cat /proc/self/status", user=user))
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert found["Groups"].split() == ["5", "77"]
    assert found["Umask"] == "0027"


@shows("process.terminal", "process.consoleSize.height", "process.consoleSize.width")
def test_terminal_of_a_size(box):
    config = box.config("sh", "-c", "tty; busybox stty size")
    config["process"].update(terminal=True, consoleSize={"height": 10, "width": 33})
    assert box.run(config).stdout.split() == ["/dev/pts/0", "10", "33"]


@shows(
    *(
        f"process.capabilities.{name}[]"
        for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
    )
)
def test_capability_sets(box):
    """Each its own, as the process has them before its program changes them by execve's rules."""
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    config = box.config("true")
    config["process"]["capabilities"] = sets
    write_config(box.bundle, config)
    box.detached("create", "-b", str(box.bundle), "box")
    found = status(Path(f"/proc/{box.state()['pid']}/status").read_text())
    for name, field in zip(sets, ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"), strict=True):
        assert int(found[field], 16) == sum(CAPS[word] for word in sets[name]), name


@shows(
    "process.rlimits[].soft",
    "process.rlimits[].hard",
    *(f"process.rlimits[].type={name}" for name in RLIMITS),
)
def test_resource_limits(box):
    rows = {
        "AS": "address space", "CORE": "core file size", "CPU": "cpu time", "DATA": "data size", "FSIZE": "file size",
        "LOCKS": "file locks", "MEMLOCK": "locked memory", "MSGQUEUE": "msgqueue size", "NICE": "nice priority",
        "NOFILE": "open files", "NPROC": "processes", "RSS": "resident set", "RTPRIO": "realtime priority",
        "RTTIME": "realtime timeout", "SIGPENDING": "pending signals", "STACK": "stack size",
    }  # fmt: skip
    wanted = {}
    for name in RLIMITS:
        number = NUMBERS[name] if name in NUMBERS else getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        ceiling = 1 << 40 if hard == resource.RLIM_INFINITY else hard
        wanted[name] = (ceiling // 2, ceiling - ceiling // 4)
    config = box.config("cat", "/proc/self/limits")
    config["process"]["rlimits"] = [
        {"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()
    ]
    result = box.run(config)
    found = {
        line[:26].strip().removeprefix("Max "): line[26:].split()[:2] for line in result.stdout.splitlines()
    }
    for name, limits in wanted.items():
        assert found[rows[name.removeprefix("RLIMIT_")]] == [str(each) for each in limits], name


@shows("process.noNewPrivileges", "process.oomScoreAdj")
def test_no_new_privileges_and_oom_score(box):
    assert status(box.sh("cat /proc/self/status"))["NoNewPrivs"] == "0"
    out = box.sh("cat /proc/self/status /proc/self/oom_score_adj", noNewPrivileges=True, oomScoreAdj=321)
    assert status(out)["NoNewPrivs"] == "1"
    assert out.endswith("\n321\n")


@shows("process.ioPriority.priority")
@shows_each(
    {
        "process.ioPriority.class=IOPRIO_CLASS_RT": (1, 2),
        "process.ioPriority.class=IOPRIO_CLASS_BE": (2, 6),
        "process.ioPriority.class=IOPRIO_CLASS_IDLE": (3, 0),
    }
)
def test_io_priority(box, key, case):
    number, level = case
    config = box.config("sleep", "1000")
    config["process"]["ioPriority"] = {"class": key.partition("=")[2], "priority": level}
    pid = box.start(config=config)
    assert ctypes.CDLL(None).syscall(SYS_IOPRIO_GET, 1, pid) == number << 13 | level


def scheduling(pid):
    """(policy, flags, nice, priority, runtime, deadline, period) by sched_getattr(2)."""
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(SYS_SCHED_GETATTR, pid, attributes, 48, 0) == 0
    return struct.unpack("=IIQiI3Q", attributes.raw)[1:]


@pytest.fixture
def real_time_cgroup(box):
    """On v1 with RT_GROUP_SCHED a group runs real-time threads only if its parents have real-time to give."""
    file = Path(f"/sys/fs/cgroup/cpu{box.cgroup}/cpu.rt_runtime_us")
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        return {}
    file.parent.mkdir(exist_ok=True)
    file.write_text("40000")
    return {"realtimePeriod": 1000000, "realtimeRuntime": 20000}


DEADLINE = {"runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000}
SCHEDULES = {
    "process.scheduler.policy=SCHED_OTHER": ({"nice": 7}, (0, 0, 7, 0)),
    "process.scheduler.policy=SCHED_FIFO": ({"priority": 9}, (1, 0, 0, 9)),
    "process.scheduler.policy=SCHED_RR": ({"priority": 8}, (2, 0, 0, 8)),
    "process.scheduler.policy=SCHED_BATCH": ({"nice": 3}, (3, 0, 3, 0)),
    "process.scheduler.policy=SCHED_IDLE": ({}, (5, 0, 0, 0)),
    "process.scheduler.policy=SCHED_DEADLINE": (DEADLINE, (6, 0, 0, 0)),
}


@shows(*(f"process.scheduler.{name}" for name in ("nice", "priority", "runtime", "deadline", "period")))
@shows_each(SCHEDULES)
def test_scheduler(box, key, case, real_time_cgroup):
    wish, expected = case
    assert_scheduled(box, {"policy": key.partition("=")[2], **wish}, expected, real_time_cgroup)


def assert_scheduled(box, scheduler, expected, cpu):
    config = box.config("sleep", "1000")
    config["process"]["scheduler"] = scheduler
    config["linux"]["resources"]["cpu"] = cpu
    found = scheduling(box.start(config=config))
    assert found[:4] == expected
    if scheduler["policy"] == "SCHED_DEADLINE":
        assert found[4:] == tuple(DEADLINE.values())


FLAGS = {
    "process.scheduler.flags[]=SCHED_FLAG_RESET_ON_FORK": ("SCHED_RR", {"priority": 5}, (2, 1, 0, 5)),
    "process.scheduler.flags[]=SCHED_FLAG_RECLAIM": ("SCHED_DEADLINE", DEADLINE, (6, 2, 0, 0)),
    "process.scheduler.flags[]=SCHED_FLAG_DL_OVERRUN": ("SCHED_DEADLINE", DEADLINE, (6, 4, 0, 0)),
    # what the process has already is kept: the policy SCHED_OTHER; with KEEP_PARAMS (of Linux) the nice value too
    "process.scheduler.flags[]=SCHED_FLAG_KEEP_POLICY": ("SCHED_BATCH", {"nice": 4}, (0, 0, 4, 0)),
    "process.scheduler.flags[]=SCHED_FLAG_KEEP_PARAMS": ("SCHED_BATCH", {"nice": 4}, (0, 0, 0, 0)),
}


@shows_each(FLAGS)
def test_scheduler_flag(box, key, case, real_time_cgroup):
    policy, wish, expected = case
    wish = {"policy": policy, "flags": [key.partition("=")[2]], **wish}
    assert_scheduled(box, wish, expected, real_time_cgroup)


@shows_each(
    [f"process.scheduler.flags[]=SCHED_FLAG_UTIL_CLAMP_{end}" for end in ("MIN", "MAX")]
    + ["process.scheduler.policy=SCHED_ISO"],
    verdict="the kernel's error",
)
def test_schedule_that_the_kernel_has_not_is_an_error(box, key):
    """SCHED_ISO was never merged; clamping needs CONFIG_UCLAMP_TASK, and values that config.json has no field for."""
    word = key.partition("=")[2]
    config = box.config("true")
    config["process"]["scheduler"] = (
        {"policy": word} if word == "SCHED_ISO" else {"policy": "SCHED_OTHER", "flags": [word]}
    )
    result = box.run(config)
    assert result.returncode == 1
    assert "process.scheduler" in result.stderr


@shows_each(
    ["process.apparmorProfile", "process.selinuxLabel", "linux.mountLabel"],
    verdict="honoured where the host can",
)
def test_security_label_without_its_module_is_an_error(box, key):
    file = (
        "/sys/fs/selinux/enforce"
        if key != "process.apparmorProfile"
        else "/sys/kernel/security/apparmor/profiles"
    )
    config = box.config("cat", "/proc/self/attr/current")
    top, _, name = key.partition(".")
    config[top][name] = "unconfined" if os.path.exists(file) else "a:b:c:d"
    result = box.run(config)
    if os.path.exists(file):
        assert "unconfined" in result.stdout
    else:
        assert result.returncode == 1
        assert key in result.stderr


# Hooks


@shows_each([f"hooks.{kind}[].{field}" for kind in HOOKS for field in ("path", "args[]", "env[]")])
def test_hook(box, rootfs, key):
    kind = key.replace("[]", "").split(".")[1]
    # the path is the one file, outside and inside: startContainer runs in the container
    shell = "/bin/busybox"
    config = box.config("true")
    hook = {
        "path": shell,
        "args": ["sh", "-c", 'read state; echo "$0|$A|$state" >/dev/shm/barque-hook-$N', "argument"],
        "env": ["A=variable", f"N={box.directory.name}"],
    }
    config["hooks"] = {kind: [hook]}
    config["mounts"][:] = [each for each in config["mounts"] if each["destination"] != "/dev/shm"]
    config["mounts"].append(
        {"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["bind"]}
    )
    log = Path(f"/dev/shm/barque-hook-{box.directory.name}")
    try:
        result = box.run(config)
        assert result.returncode == 0, result.stderr
        argument, variable, state = log.read_text().split("|", 2)
    finally:
        log.unlink(missing_ok=True)
    assert (argument, variable) == ("argument", "variable")
    assert json.loads(state)["id"] == "box"


@shows_each([f"hooks.{kind}[].timeout" for kind in HOOKS])
def test_hook_that_takes_too_long(box, key):
    kind = key.replace("[]", "").split(".")[1]
    config = box.config("true")
    config["hooks"] = {kind: [{"path": "/bin/busybox", "args": ["sleep", "1000"], "timeout": 1}]}
    begin = time.monotonic()
    result = box.run(config)
    assert time.monotonic() - begin < 20
    # the specification wants the last two logged only
    assert result.returncode == (0 if kind in ("poststart", "poststop") else 1), result
    assert "timed out" in result.stderr


@shows("annotations.*")
def test_annotations_are_part_of_the_state(box):
    config = box.config("sleep", "1000")
    config["annotations"] = {"org.example.a": "b"}
    box.start(config=config)
    assert box.state()["annotations"] == {"org.example.a": "b"}
