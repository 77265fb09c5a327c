"""Any document in place of a configuration is planned or refused with an error of the tree: no crash, no hang (row R41)."""

from __future__ import annotations

import copy
import json
import os
import random
import time

import pytest

from barque.spi.errors import BarqueError
from barque_runtime_native.cgroup.layout import read_layout
from barque_runtime_native.jsontext import loads
from barque_runtime_native.plan import Plan
from barque_runtime_native.seccomp.compiler import compile_filter

pytestmark = pytest.mark.row("R41")

ROUNDS = int(os.environ.get("BARQUE_FUZZ_ROUNDS", "1500"))
HOOK = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 1}
IDS = [{"containerID": 0, "hostID": 100000, "size": 1000}]
# Something of everything; what is taken out or changed at random brings each branch.
FULL = {
    "ociVersion": "1.2.0",
    "hostname": "box",
    "domainname": "example.org",
    "annotations": {"a": "b"},
    "root": {"path": "/usr", "readonly": True},
    "process": {
        "terminal": True,
        "consoleSize": {"height": 1, "width": 2},
        "user": {"uid": 1, "gid": 2, "umask": 7, "additionalGids": [3]},
        "args": ["true"],
        "cwd": "/",
        "env": ["A=b", "PATH=/bin"],
        "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        "oomScoreAdj": 5,
        "noNewPrivileges": True,
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=1m"]},
        {"destination": "/v", "type": "bind", "source": "/tmp", "options": ["rbind", "rro", "rslave"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ],
    "hooks": {
        kind: [HOOK]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststop")
    },
    "linux": {
        "cgroupsPath": "/barque-fuzz/x",
        "namespaces": [
            {"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc", "user", "time", "cgroup")
        ],
        "uidMappings": IDS,
        "gidMappings": IDS,
        "timeOffsets": {"boottime": {"secs": 1, "nanosecs": 2}},
        "devices": [
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}
        ],
        "sysctl": {"net.core.somaxconn": "1"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "rootfsPropagation": "rslave",
        "personality": {"domain": "LINUX"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "netDevices": {"eth7": {"name": "eth0"}},
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3},
            ],
            "memory": {"limit": 1 << 26, "swap": 1 << 27, "swappiness": 1, "disableOOMKiller": False},
            "cpu": {"shares": 2, "quota": 3000, "period": 4000, "cpus": "0", "mems": "0", "idle": 0},
            "pids": {"limit": 9},
            "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["read", "nothing"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
    },
}
STRANGE = [
    None, True, False, 0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, -(2**63), 10**400, 0.0, 1e308, float("nan"), "", "\0",
    "a\0b", "..", "/../..", "/", "//", "/proc/self/fd/3", "\ud800", "é" * 300, "a" * 100_000, "%n%s", "0-99999999999", "0,1-",
    "-1", "1:2:3", "a=b", "=", ",", "\n", [], {}, [[]], [{}], [None], [""], {"": ""}, {"\0": {}}, {"\ud800": "x"},
    {"\ud800": {}}, {"a" * 5000: "x"}, ["x"] * 1000, [0] * 70_000,
]  # fmt: skip


def places(node, path=()):
    """The path of each member."""
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in members:
        yield (*path, key)
        yield from places(value, (*path, key))


def change(chance, config):
    """One to four members are replaced, removed, doubled or exchanged."""
    for _ in range(chance.randrange(1, 5)):
        every = list(places(config))
        if not every:
            return
        *above, key = chance.choice(every)
        node = config
        for step in above:
            node = node[step]
        how = chance.randrange(6)
        if how < 3:
            node[key] = copy.deepcopy(chance.choice(STRANGE))
        elif how == 3:
            del node[key]
        elif how == 4 and isinstance(node, list):
            node.extend(copy.deepcopy([node[key]] * chance.randrange(1, 400)))
        else:
            *others, last = chance.choice(every)
            value = config
            for step in others:
                value = value[step] if step in value or isinstance(value, list) else {}
            node[key] = copy.deepcopy(value.get(last) if isinstance(value, dict) else chance.choice(STRANGE))


def judge(config, bundle):
    """The plan, or an error of the tree with a text for people."""
    try:
        plan = Plan("fuzz", str(bundle), config)
        plan.describe()
        if plan.seccomp:
            compile_filter(plan.seccomp)
    except BarqueError as error:
        return type(error).__name__ if str(error).strip() else "no text"
    return "planned"


@pytest.mark.timeout(900)
def test_changed_configurations(tmp_path):
    chance = random.Random(20261122)
    outcomes = set()
    for number in range(ROUNDS):
        config = copy.deepcopy(FULL)
        change(chance, config)
        begin = time.monotonic()
        try:
            outcomes.add(judge(config, tmp_path))
        except Exception as error:  # noqa: BLE001 - which one it is, and of what, is the finding
            pytest.fail(f"round {number}: {type(error).__name__}: {error}: {json.dumps(config)[:3000]}")
        assert time.monotonic() - begin < 5, json.dumps(config)[:3000]
    assert {"planned", "InvalidArgument"} <= outcomes
    assert "no text" not in outcomes


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: repr(value)[:20])
def test_strange_value_at_every_place(tmp_path, value):
    for path in list(places(FULL)):
        config = copy.deepcopy(FULL)
        node = config
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = copy.deepcopy(value)
        try:
            judge(config, tmp_path)
        except Exception as error:  # noqa: BLE001 - as above
            pytest.fail(f"{path}: {type(error).__name__}: {error}")


def test_bytes_in_place_of_a_configuration():
    """What is not JSON is a ValueError, whatever it is."""
    chance = random.Random(5)
    text = json.dumps(FULL).encode()
    for _ in range(ROUNDS):
        data = bytearray(text)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(0, 3)] = bytes(
                chance.randrange(256) for _ in range(chance.randrange(4))
            )
        try:
            loads(bytes(data))
        except ValueError:
            continue


def test_tables_of_mounts_and_cgroups():
    """Of the kernel's, but with mount points that somebody else chose."""
    chance = random.Random(6)
    line = "31 21 0:26 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu\n"
    own = "3:cpu:/a\n2:name=systemd:/b\n0::/c\n"
    for _ in range(ROUNDS):
        texts = [list(line * 3), list(own)]
        for text in texts:
            for _ in range(chance.randrange(6)):
                text[chance.randrange(len(text))] = chance.choice(
                    [" ", "\n", "\\", "\\040", ":", "/", "..", "é", ",", "-"]
                )
        try:
            read_layout("".join(texts[0]), "".join(texts[1]))
        except (BarqueError, IndexError, ValueError):
            continue  # half a line, which the kernel does not write: any error will do, but no hang
