"""One container under native, runc and crun: the same confinement (row S17 by comparison)."""

import json

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

# What a program inside sees. Mount ids, devices' minor numbers and the like differ by nature and are cut off.
LOOK = r"""
grep -E '^(Cap|Seccomp:|NoNewPrivs|Groups)' /proc/self/status
echo == mounts
awk '{ for (i = 7; $i != "-"; i++); print $5, $(i+1), $6 }' /proc/self/mountinfo | sort
echo == devices
ls -ln /dev | awk '{ print $1, $3, $4, $5, $6, $NF }' | grep -v ^total | sort
echo == masked
for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /sys/firmware /proc/scsi; do
  if [ -d $f ]; then echo $f dir $(ls $f | wc -l); else echo $f $(head -c 1 $f 2>/dev/null | wc -c); fi
done
for f in /proc/sys/kernel/domainname /proc/sysrq-trigger; do echo x 2>/dev/null > $f && echo $f written; done
echo == cgroup
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.shares
cat /sys/fs/cgroup/devices/devices.list | sort
echo == limits
cat /proc/self/limits | grep -E 'open files|core'
cat /proc/self/oom_score_adj
echo == sysctl
cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
hostname; id; pwd; env | sort | grep -v HOSTNAME
"""


MASKED = {"/proc/interrupts", "/proc/keys", "/proc/timer_list"}
# Reviewed differences of the peers: crun drops the flags of /proc from its read-only binds and links /dev/core; both
# leave the tmpfs on /sys/fs/cgroup writable where native does what the config says (`ro`).
FREE = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}


def normal(line):
    """A mount line less what may differ by nature: the device behind a mask, flags beyond ro and rw of a read-only bind."""
    target = line.partition(" ")[0]
    if target in MASKED:
        return f"{target} masked"
    if target in FREE:
        return f"{target} {'ro' if ' ro,' in line else 'rw'}"
    if target == "/sys/fs/cgroup":
        return f"{target} tmpfs"
    return "" if line.endswith(" /proc/kcore") else line


def look(daemon, runtime):
    result = daemon.docker(
        "run", "--rm", "--runtime", runtime, "--hostname", "same", "--memory", "64m", "--pids-limit", "77",
        "--cpu-shares", "512", "--ulimit", "nofile=1000:2000", "--network", "none", IMAGE, "sh", "-c", LOOK,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [line for line in map(normal, result.stdout.splitlines()) if line]


@pytest.mark.row("S17")
@pytest.mark.parametrize("peer", ["runc", "crun"])
def test_native_confines_as_its_peers_do(daemon, peer):
    native, other = look(daemon, "native"), look(daemon, peer)
    expected = {"CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t0"}
    assert expected | {f"Cap{k}:\t00000000a80425fb" for k in ("Prm", "Eff", "Bnd")} <= set(native)
    assert set(native) - set(other) == set(), "only native has these"
    assert set(other) - set(native) == set(), f"only {peer} has these"


@pytest.mark.parametrize("runtime", ["native", "runc", "crun"])
def test_the_chosen_runtime_is_shown_and_exec_works(daemon, runtime):
    id = daemon.docker("run", "-d", "--runtime", runtime, IMAGE, "sleep", "1000").stdout.strip()
    try:
        shown = json.loads(daemon.docker("inspect", id).stdout)[0]
        assert shown["HostConfig"]["Runtime"] == runtime
        status = daemon.docker(
            "exec", id, "grep", "-E", "Seccomp:|CapEff|NoNewPrivs", "/proc/self/status"
        ).stdout
        init = daemon.docker("exec", id, "grep", "-E", "Seccomp:|CapEff|NoNewPrivs", "/proc/1/status").stdout
        assert status == init
        assert "Seccomp:\t2" in status
    finally:
        daemon.docker("rm", "-f", id)


def test_an_unknown_runtime_is_named(daemon):
    result = daemon.docker("run", "--rm", "--runtime", "nosuch", IMAGE, "true")
    assert result.returncode == 125
    assert "unknown or invalid runtime name: nosuch" in result.stderr
