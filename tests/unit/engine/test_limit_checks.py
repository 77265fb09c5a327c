"""Limits that cannot be meant, and those that this kernel does not know."""

import pytest

from barque.engine import limit_checks
from barque.engine.limit_checks import check_limits, check_ulimits, fitted
from barque.engine.validation import check_config
from barque.spi.container import ContainerConfig, DeviceRate, Resources, Ulimit
from barque.spi.errors import InvalidArgument

DISK = (DeviceRate("/dev/sda", 1),)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """kernel(*files): cgroup v1 with no more than these, as `controller/file`."""

    def kernel(*files):
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    monkeypatch.setattr(limit_checks, "_CGROUPS", tmp_path)
    return kernel


def left(**limits):
    config, warnings = fitted(ContainerConfig("x", resources=Resources(**limits)), cgroup_v2=False)
    return config.resources, warnings


def test_what_the_kernel_does_not_know_is_left_out_with_a_warning(kernel):
    kernel()
    asked = {
        "memory_swappiness": 5,
        "oom_kill_disable": True,
        "blkio_weight": 20,
        "blkio_read_bps": DISK,
        "blkio_write_iops": DISK,
    }
    limits, warnings = left(memory=1 << 26, **asked)
    assert limits == Resources(memory=1 << 26)
    assert warnings[:3] == (
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    )
    assert warnings[3].startswith(
        "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. "
    )
    assert warnings[4].startswith(
        "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. "
    )
    assert len(warnings) == 5


def test_what_the_kernel_knows_stays(kernel):
    kernel(
        "memory/memory.swappiness",
        "memory/memory.oom_control",
        "blkio/some/blkio.bfq.weight",
        "blkio/blkio.throttle.read_bps_device",
    )
    asked = {"memory_swappiness": 0, "oom_kill_disable": True, "blkio_weight": 20, "blkio_read_bps": DISK}
    limits, warnings = left(**asked)
    assert limits == Resources(**asked)
    assert len(warnings) == 1
    assert warnings[0].startswith("OOM killer is disabled for the container, but no memory limit is set")


def test_nothing_asked_is_nothing_looked_at(monkeypatch):
    monkeypatch.setattr(limit_checks, "_exists", lambda *_: pytest.fail("looked"))
    config = ContainerConfig("x", resources=Resources(memory=1 << 26))
    assert fitted(config, cgroup_v2=False) == (config, ())
    check_limits(config.resources)


def test_real_time_needs_a_kernel_that_has_it(kernel):
    kernel()
    with pytest.raises(InvalidArgument, match="kernel does not support CPU real-time scheduler"):
        check_limits(Resources(cpu_realtime_runtime=1))
    kernel("cpu/cpu.rt_runtime_us")
    check_limits(Resources(cpu_realtime_runtime=1, cpu_realtime_period=1))
    with pytest.raises(InvalidArgument, match="cannot be higher than cpu real-time period"):
        check_limits(Resources(cpu_realtime_runtime=2, cpu_realtime_period=1))


@pytest.mark.parametrize("text", ["x", "1-", "-1", "2-1", "1,,2", "99999999"])
def test_sets_of_cpus_that_are_none(text):
    with pytest.raises(InvalidArgument, match=r"Invalid value .* for cpuset cpus"):
        check_limits(Resources(cpuset_cpus=text))


def test_cpus_that_are_not_there():
    check_limits(Resources(cpuset_cpus="0", cpuset_mems="0"))
    with pytest.raises(
        InvalidArgument, match="Requested CPUs are not available - requested 0,4099, available: 0"
    ):
        check_limits(Resources(cpuset_cpus="0,4099"))


@pytest.mark.parametrize(
    "ulimit",
    [Ulimit("bogus", 1, 1), Ulimit("nofile", 2, 1), Ulimit("nofile", -1, 1), Ulimit("nofile", -2, -2)],
)
def test_ulimits_that_are_none(ulimit):
    with pytest.raises(InvalidArgument):
        check_ulimits([ulimit])
    check_ulimits([Ulimit("nofile", -1, -1), Ulimit("core", 0, -1)])


@pytest.mark.parametrize(
    "name", ["kernel.pid_max", "vm.swappiness", "fs.file-max", "kernel.hostname", "netx.a", "net", ""]
)
def test_sysctls_of_the_whole_machine(name):
    with pytest.raises(InvalidArgument, match="is not allowed"):
        check_config(ContainerConfig("x", sysctls={name: "1"}), frozenset())


def test_sysctls_of_namespaces_that_are_the_hosts():
    names = {
        "net.core.somaxconn": {"network": "host"},
        "kernel/shmmax": {"ipc_mode": "host"},
        "kernel.domainname": {"uts_mode": "host"},
    }
    for name, mode in names.items():
        check_config(ContainerConfig("x", sysctls={name: "1"}), frozenset())
        with pytest.raises(InvalidArgument, match="not allowed in host"):
            check_config(ContainerConfig("x", sysctls={name: "1"}, **mode), frozenset())
