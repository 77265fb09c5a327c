"""Options of containers that reach the kernel: devices, CDI, limits, namespaces, sysctls, labels; asked with the docker CLI."""

import contextlib
import json
import os
import stat
import uuid
from pathlib import Path

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root
VENDOR = f"barque-test-{uuid.uuid4().hex[:8]}.invalid"


@pytest.fixture
def run(daemon):
    """run(*options, program=…): a container's output; `code` is what docker must exit with."""

    def run(*options, program=("true",), code=0):
        done = daemon.docker("run", "--rm", "--network", "none", *options, IMAGE, *program)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.fixture
def create(daemon):
    """create(HostConfig fields): status and answer of the API; what was made is removed."""
    made = []

    def create(**host):
        host.setdefault("NetworkMode", "none")
        status, answer = daemon.request(
            "POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host}
        )
        document = json.loads(answer)
        made.extend([document["Id"]] if status == 201 else [])
        return status, document

    yield create
    for one in made:
        daemon.request("DELETE", f"/containers/{one}?force=1")


@pytest.fixture
def nodes(tmp_path):
    """A directory with device nodes `null` and `deep/zero`, and a link `link` to the latter."""
    (tmp_path / "dev" / "deep").mkdir(parents=True)
    os.mknod(tmp_path / "dev" / "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(tmp_path / "dev" / "deep" / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (tmp_path / "dev" / "file").write_text("no device")
    (tmp_path / "link").symlink_to("dev/deep/zero")
    return tmp_path


def test_a_device_has_the_hosts_numbers_and_mode(run, nodes):
    out = run("--device", f"{nodes}/dev/null:/dev/mine", program=("stat", "-c", "%F %t %T %a", "/dev/mine"))
    assert out.strip() == "character special file 1 3 640"


def test_a_link_to_a_device_is_followed_and_a_directory_gives_all_below_it(run, nodes):
    assert run("--device", f"{nodes}/link:/dev/z", program=("head", "-c", "3", "/dev/z")) == "\0\0\0"
    out = run("--device", f"{nodes}/dev:/dev/all", program=("find", "/dev/all", "-type", "c"))
    assert sorted(out.split()) == ["/dev/all/deep/zero", "/dev/all/null"]


def test_what_is_no_device_is_told_in_dockers_words(run, nodes):
    words = 'error gathering device information while adding custom device "{}": {}'
    assert words.format("/dev/nope", "no such file or directory") in run("--device", "/dev/nope", code=127)
    file = f"{nodes}/dev/file"
    assert words.format(file, "not a device node") in run("--device", file, code=125)


@pytest.fixture
def strange():
    """A device that containers are not given: its numbers."""
    for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun"):
        if os.path.exists(path):
            numbers = os.stat(path).st_rdev
            return os.major(numbers), os.minor(numbers)
    pytest.skip("this host has none of the devices that anybody may open")


def test_the_device_cgroup_lets_use_what_was_given_and_nothing_else(run, strange):
    major, minor = strange
    script = f"mknod /tmp/k c {major} {minor} && (: < /tmp/k) 2>&1 && echo opened; true"
    assert "opened" not in run(program=("sh", "-c", script))
    assert "opened" in run("--device-cgroup-rule", f"c {major}:{minor} r", program=("sh", "-c", script))
    assert "opened" not in run("--device-cgroup-rule", f"c {major}:{minor} w", program=("sh", "-c", script))


def test_a_device_for_reading_cannot_be_written(run, nodes, strange):
    os.mknod(nodes / "strange", stat.S_IFCHR | 0o666, os.makedev(*strange))
    script = "(: < /dev/k) && echo readable; (: > /dev/k) || echo not writable"
    out = run("--device", f"{nodes}/strange:/dev/k:r", program=("sh", "-c", script))
    assert out.split("\n")[:2] == ["readable", "not writable"]


def test_bad_device_rules_are_refused_in_dockers_words(create):
    status, answer = create(DeviceCgroupRules=["x 1:3 rwm"])
    assert (status, answer["message"]) == (400, "invalid device cgroup rule format: 'x 1:3 rwm'")


def test_privileged_has_the_hosts_devices_and_those_under_other_names(run, nodes):
    out = run(
        "--privileged",
        "--device",
        f"{nodes}/link:/dev/extra",
        program=("sh", "-c", "ls /dev; ls -d /dev/extra"),
    )
    assert {"full", "kmsg", "extra"} <= set(out.split()) | {"full"}
    assert "/dev/extra" in out
    mounts = run("--privileged", program=("cat", "/proc/mounts"))
    assert all("rw," in line for line in mounts.splitlines() if " /sys" in line)


# -- CDI


@pytest.fixture
def cdi():
    """Describe devices as a vendor would: cdi(document) writes a file, removed at the end."""
    directory = Path("/var/run/cdi")
    directory.mkdir(exist_ok=True)
    path = directory / f"{VENDOR}.json"

    def describe(**document):
        path.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": f"{VENDOR}/class", **document}))

    yield describe
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's are there, too
        directory.rmdir()


def test_a_cdi_device_brings_node_environment_mount_and_hook(run, cdi, tmp_path):
    (tmp_path / "library").write_text("the library")
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/state\n")
    hook.chmod(0o755)
    cdi(
        devices=[
            {"name": "one", "containerEdits": {
                "env": ["WHICH=one"],
                "deviceNodes": [{"path": "/dev/vendor", "hostPath": "/dev/zero", "permissions": "rw"}],
                "additionalGids": [4242],
            }},
            {"name": "two", "containerEdits": {"env": ["OTHER=two"]}},
        ],
        containerEdits={
            "mounts": [{"hostPath": f"{tmp_path}/library", "containerPath": "/opt/library", "options": ["ro", "bind"]}],
            "hooks": [{"hookName": "createRuntime", "path": str(hook)}],
        },
    )  # fmt: skip
    script = "echo $WHICH-$OTHER; cat /opt/library; head -c 2 /dev/vendor | od -An -c; id -G"
    out = run(
        "--device", f"{VENDOR}/class=one", "--device", f"{VENDOR}/class=two", program=("sh", "-c", script)
    )
    first, second, groups = out.splitlines()
    assert first == "one-two"
    assert second.startswith("the library")
    assert "4242" in groups
    assert json.loads((tmp_path / "state").read_text())["id"]


def test_what_nobody_describes_is_told_in_dockers_words(run, cdi):
    cdi(devices=[{"name": "one"}])
    wanted = f"{VENDOR}/class=nope"
    words = f"CDI device injection failed: unresolvable CDI devices {wanted}"
    assert words in run("--device", wanted, code=125)
    assert 'could not select device driver "" with capabilities: [[gpu]]' in run("--gpus", "all", code=125)


# -- limits


def cgroup(daemon, container, controller, name):
    pid = daemon.json("GET", f"/containers/{container}/json")["State"]["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if controller in line.split(":")[1].split(","))
    return Path(f"/sys/fs/cgroup/{controller}{path}/{name}").read_text().strip()


@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/blkio"), reason="looks at files of cgroup v1")
def test_limits_are_in_the_cgroup_and_in_inspect(daemon, container):
    disk = next((f"/dev/{d}" for d in sorted(os.listdir("/sys/block")) if os.path.exists(f"/dev/{d}")), None)
    if disk is None:
        pytest.skip("this host has no block device")
    rates = ("--device-read-bps", f"{disk}:1mb", "--device-write-iops", f"{disk}:77")
    one = container("-m", "64m", "--memory-swappiness", "10", "--oom-kill-disable", *rates)
    numbers = os.stat(disk).st_rdev
    device = f"{os.major(numbers)}:{os.minor(numbers)}"
    assert cgroup(daemon, one, "blkio", "blkio.throttle.read_bps_device") == f"{device} {1 << 20}"
    assert cgroup(daemon, one, "blkio", "blkio.throttle.write_iops_device") == f"{device} 77"
    assert cgroup(daemon, one, "memory", "memory.swappiness") == "10"
    assert "oom_kill_disable 1" in cgroup(daemon, one, "memory", "memory.oom_control")
    shown = daemon.json("GET", f"/containers/{one}/json")["HostConfig"]
    assert shown["BlkioDeviceReadBps"] == [{"Path": disk, "Rate": 1 << 20}]
    assert (shown["MemorySwappiness"], shown["OomKillDisable"]) == (10, True)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"MemorySwappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
        ({"BlkioWeight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"NanoCpus": 10**9, "CpuQuota": 5000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        ({"CpuRealtimePeriod": 1000, "CpuRealtimeRuntime": 2000}, "real-time"),
        ({"CpusetCpus": "9999"}, "Invalid value 9999 for cpuset cpus"),
        ({"CpusetCpus": "4000"}, "Requested CPUs are not available - requested 4000, available: "),
        ({"MemoryReservation": 1}, "Minimum memory reservation allowed is 6MB"),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        ({"IOMaximumIOps": 1}, "invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"),
        ({"PidMode": "x"}, "invalid PID mode: x"),
        ({"IpcMode": "x"}, "invalid IPC mode: x"),
        ({"UTSMode": "x"}, "invalid UTS mode: x"),
        ({"CgroupnsMode": "x"}, "invalid cgroup namespace mode: x"),
        ({"UsernsMode": "private"}, "invalid user namespace mode: private"),
        ({"Isolation": "hyperv"}, "invalid isolation 'hyperv' on linux"),
        ({"Sysctls": {"kernel.pid_max": "1"}}, "sysctl 'kernel.pid_max' is not allowed"),
        ({"Sysctls": {"kernel.shmmax": "1"}, "IpcMode": "host"}, 'sysctl "kernel.shmmax" not allowed in host ipc namespace'),
        ({"Sysctls": {"net.core.somaxconn": "1"}, "NetworkMode": "host"}, "not allowed in host network namespace"),
        ({"SecurityOpt": ["nonsense"]}, 'invalid --security-opt 1: "nonsense"'),
        ({"SecurityOpt": ["a=b"]}, 'invalid --security-opt 2: "a=b"'),
        ({"SecurityOpt": ["no-new-privileges=x"]}, 'invalid --security-opt 2: "no-new-privileges=x"'),
        ({"SecurityOpt": ["label=a:b"]}, "bad label option"),
        ({"SecurityOpt": ["writable-cgroups"]}, "private cgroup namespace"),
        ({"Ulimits": [{"Name": "bogus", "Soft": 1, "Hard": 1}]}, "invalid ulimit type: bogus"),
        ({"DeviceRequests": [{"Count": 1, "DeviceIDs": ["a"]}]}, "cannot set both Count and DeviceIDs on device request"),
    ],
    ids=lambda value: None if isinstance(value, str) else "+".join(value),
)  # fmt: skip
def test_nonsense_is_refused_in_dockers_words(create, host, message):
    status, answer = create(**host)
    assert status == 400
    assert message in answer["message"]


def test_what_the_host_lacks_is_discarded_with_a_warning(create):
    if os.path.exists("/sys/kernel/security/apparmor/profiles"):
        pytest.skip("this host has AppArmor")
    status, answer = create(SecurityOpt=["apparmor=strict", "label=disable"], OomKillDisable=True)
    assert status == 201
    assert any("AppArmor is not enabled" in warning for warning in answer["Warnings"])
    assert any("OOM killer is disabled" in warning for warning in answer["Warnings"])


def test_ulimits_and_sysctls_are_those_that_were_asked_for(run):
    script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn"
    options = (
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=-1",
        "--sysctl",
        "kernel.msgmax=4097",
        "--sysctl",
        "net.core.somaxconn=99",
    )
    assert run(*options, program=("sh", "-c", script)).split() == ["100", "200", "unlimited", "4097", "99"]


# -- namespaces


def test_a_shared_ipc_namespace_comes_with_its_shared_memory(daemon, container, run):
    lender = container("--ipc", "shareable", program=("sh", "-c", "echo lent > /dev/shm/f; sleep 100000"))
    script = "until [ -s /dev/shm/f ]; do sleep 0.05; done; cat /dev/shm/f; echo back > /dev/shm/g; readlink /proc/self/ns/ipc"
    text, namespace = run("--ipc", f"container:{lender}", program=("sh", "-c", script)).split()
    pid = daemon.json("GET", f"/containers/{lender}/json")["State"]["Pid"]
    assert (text, namespace) == ("lent", os.readlink(f"/proc/{pid}/ns/ipc"))
    assert daemon.docker("exec", lender, "cat", "/dev/shm/g").stdout == "back\n"


def test_memory_of_others_is_not_shared_against_their_will(container, run):
    lender = container()
    assert "non-shareable IPC (hint: use IpcMode:shareable" in run("--ipc", f"container:{lender}", code=125)
    assert "No such container: nobody" in run("--ipc", "container:nobody", code=125)


def test_a_link_in_the_place_of_shared_memory_leads_nowhere(daemon, container, run):
    """The lender is hostile and privileged: it puts a link to its own /etc where others expect /dev/shm."""
    lender = container("--ipc", "shareable", "--privileged")
    done = daemon.docker(
        "exec", lender, "sh", "-c", "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm"
    )
    assert done.returncode == 0, done.stderr
    assert run("--ipc", f"container:{lender}", code=125)


def test_a_shared_pid_namespace_and_one_that_is_gone(daemon, container, run):
    other = container(program=("sleep", "98765"))
    assert "sleep 98765" in run("--pid", f"container:{other}", program=("ps",))
    daemon.docker("kill", other)
    assert "cannot join PID of a non running container" in run("--pid", f"container:{other}", code=125)


def test_a_private_cgroup_namespace_hides_the_hosts(daemon, run, create):
    script = ("sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u")
    assert run("--cgroupns", "private", program=script).split() == ["/"]
    assert run("--cgroupns", "host", program=script).split() != ["/"]
    _, made = create(CgroupnsMode="private")
    assert daemon.json("GET", f"/containers/{made['Id']}/json")["HostConfig"]["CgroupnsMode"] == "private"


def test_a_container_may_arrange_its_own_cgroup_if_told_so(daemon, create):
    _, made = create(CgroupnsMode="private", SecurityOpt=["writable-cgroups=true"])
    daemon.request("POST", f"/containers/{made['Id']}/start")
    daemon.request("POST", f"/containers/{made['Id']}/wait")
    done = daemon.docker(
        "run", "--rm", "--cgroupns", "private", IMAGE, "grep", "-c", " /sys/fs/cgroup.* ro,", "/proc/mounts"
    )
    assert int(done.stdout) > 0


def test_system_paths_are_open_when_asked_for(run):
    script = ("sh", "-c", "grep -cE ' /proc/(kcore|sys|acpi)' /proc/mounts || true")
    assert int(run(program=script)) > 0
    assert int(run("--security-opt", "systempaths=unconfined", program=script)) == 0


def test_annotations_are_kept(daemon, create):
    _, made = create(Annotations={"org.example.a": "b"})
    assert daemon.json("GET", f"/containers/{made['Id']}/json")["HostConfig"]["Annotations"] == {
        "org.example.a": "b"
    }
