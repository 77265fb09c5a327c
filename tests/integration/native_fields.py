"""The table of fields: for each field of the configuration, and each word it may hold, a test that shows the effect or the
error that refuses it. `test_native_fields` holds the table against the schema and writes it to docs/reference.

A test says what it shows with `shows` or `shows_each`; what has no effect to show is listed in `native_refusals`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import native_schema
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
Function = TypeVar("Function", bound=Callable[..., Any])

# What the specification's text allows and its schema does not list: config.md "Linux mount options", "POSIX process"
# (the limits are those of getrlimit(2)), config-linux.md "Devices", "Rootfs Mount Propagation".
RECURSIVE = (
    "atime dev diratime exec noatime nodev nodiratime noexec norelatime nostrictatime nosuid nosymfollow relatime ro rw "
    "strictatime suid symfollow"
).split()
MOUNT_OPTIONS = [
    *"async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime".split(),
    *"noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private rbind relatime".split(),
    *"remount ridmap ro rprivate rshared rslave runbindable rw shared silent slave strictatime suid symfollow".split(),
    *"sync tmpcopyup unbindable".split(),
    *(f"r{word}" for word in RECURSIVE),
]
RLIMITS = [
    f"RLIMIT_{name}"
    for name in "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK".split()
]
WORDS: dict[str, list[str]] = {
    "mounts[].options[]": MOUNT_OPTIONS,
    "process.rlimits[].type": RLIMITS,
    "linux.devices[].type": ["b", "c", "p", "u"],
    "linux.resources.devices[].type": ["a", "b", "c"],
    "linux.rootfsPropagation": ["rprivate", "rshared", "rslave", "runbindable"],
}

_shown: dict[str, list[str]] = {}
_verdicts: dict[str, str] = {}


def shows(*keys: str) -> Callable[[Function], Function]:
    """The decorated test shows what these fields (`linux.cgroupsPath`) or words (`linux.devices[].type=c`) do."""

    def note(function: Function) -> Function:
        for key in keys:
            _shown.setdefault(key, []).append(_node(function))
        return function

    return note


def shows_each(
    cases: Mapping[str, object] | Iterable[str], verdict: str = "honoured"
) -> Callable[[Function], Function]:
    """The same for a test that runs once for each key; it gets `key`, and with a mapping the `case` that goes with it."""

    def note(function: Function) -> Function:
        keys = list(cases)
        for key in keys:
            _shown.setdefault(key, []).append(f"{_node(function)}[{key}]")
            _verdicts[key] = verdict
        if isinstance(cases, Mapping):
            values = [pytest.param(key, case, id=key) for key, case in cases.items()]
            return pytest.mark.parametrize(("key", "case"), values)(function)
        return pytest.mark.parametrize("key", keys)(function)

    return note


def _node(function: Callable[..., Any]) -> str:
    return f"{Path(function.__code__.co_filename).relative_to(REPOSITORY)}::{function.__name__}"


def shown() -> dict[str, list[str]]:
    """Key -> the tests that show it, of all modules imported so far."""
    return _shown


def verdict_of(key: str) -> str:
    """What the tests of `key` show of it in a word or two."""
    return _verdicts.get(key, "honoured")


def keys() -> list[str]:
    """Every row of the table, in the schema's order: fields that hold a value, each followed by its words."""
    flat = native_schema.load()
    found = []
    for path, kind in flat["fields"].items():
        words = [*flat["values"].get(path, ()), *WORDS.get(path, ())]
        if kind not in ("object", "array") or path in native_schema.OTHER_PLATFORMS:
            found.append(path)
        found.extend(f"{path}={word}" for word in words)
    return found


# A configuration with one field set

# What else an object needs so that the field looked at is the only one that can be wrong.
BESIDE: dict[str, dict[str, Any]] = {
    "mounts[]": {"destination": "/v", "type": "tmpfs", "source": "tmpfs"},
    "process.ioPriority": {"class": "IOPRIO_CLASS_BE"},
    "process.scheduler": {"policy": "SCHED_OTHER"},
    "process.rlimits[]": {"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
    "linux.devices[]": {"path": "/dev/x", "type": "c", "major": 1, "minor": 3},
    "linux.namespaces[]": {"type": "uts"},
    "linux.resources.devices[]": {"allow": True, "type": "c", "access": "r"},
    "linux.resources.hugepageLimits[]": {"pageSize": "2MB", "limit": 2 << 20},
    "linux.resources.network.priorities[]": {"name": "lo", "priority": 1},
    "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "linux.seccomp.syscalls[]": {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"},
    "linux.seccomp.syscalls[].args[]": {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
    "linux.intelRdt": {"closID": "barque"},
    "linux.personality": {"domain": "LINUX"},
    "linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
    **{
        f"hooks.{kind}[]": {"path": "/bin/true"}
        for kind in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
    },
    **{
        f"{place}.{key}[]": {"containerID": 0, "hostID": 100000, "size": 1000}
        for place in ("linux", "mounts[]")
        for key in ("uidMappings", "gidMappings")
    },
    **{
        f"linux.resources.blockIO.{key}[]": {"major": 8, "minor": 0, "rate": 1 << 20}
        for key in (
            "throttleReadBpsDevice",
            "throttleWriteBpsDevice",
            "throttleReadIOPSDevice",
            "throttleWriteIOPSDevice",
        )
    },
    "linux.resources.blockIO.weightDevice[]": {"major": 8, "minor": 0, "weight": 100},
}
# What else a configuration needs where the field is.
AROUND: dict[str, dict[str, Any]] = {
    "process.consoleSize": {"process": {"terminal": True}},
    "mounts[].uidMappings": {"mounts": [{"destination": "/v", "type": "bind", "source": "/tmp"}]},
    "mounts[].gidMappings": {"mounts": [{"destination": "/v", "type": "bind", "source": "/tmp"}]},
    "linux.netDevices": {"linux": {"namespaces": [{"type": "network"}]}},
}
# A key for a map whose keys have a meaning.
KEYS = {
    "linux.sysctl": "net.core.somaxconn",
    "linux.netDevices": "eth7",
    "linux.resources.unified": "pids.max",
}


def configured(rootfs: Path, path: str, value: object) -> tuple[dict[str, Any], str]:
    """A small configuration in which `path` is `value`, and the name that field has in it (`mounts[0].type`)."""
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {"args": ["true"], "cwd": "/"},
        "root": {"path": str(rootfs)},
        "linux": {"namespaces": [{"type": "mount"}], "cgroupsPath": "/barque-test-fields"},
    }
    for place, more in AROUND.items():
        if path.startswith(place):
            add(config, more)
    node: Any = config
    at, name = "", ""
    tokens = [each for part in path.split(".") for each in re.findall(r"[^\[]+|\[\]", part)]
    for index, token in enumerate(tokens):
        last = index == len(tokens) - 1
        at, name, key = _step(node, token, at, name, last)
        below: Any = [] if not last and tokens[index + 1] == "[]" else copy.deepcopy(BESIDE.get(at, {}))
        new = value if last else below
        if isinstance(node, list):
            if at != "mounts[]" or last or not node:
                node.append(new)
            node = node[-1]
        elif last:
            node[key] = new
        else:
            node = node.setdefault(key, new)
    return config, name


def add(config: dict[str, Any], more: dict[str, Any]) -> None:
    """Merge objects and lists."""
    for key, value in more.items():
        if isinstance(value, dict):
            add(config.setdefault(key, {}), value)
        elif isinstance(value, list):
            config.setdefault(key, []).extend(copy.deepcopy(value))
        else:
            config[key] = value


def _step(node: Any, token: str, at: str, name: str, last: bool) -> tuple[str, str, str]:
    """(path in the schema, name in the configuration, key) one token further."""
    if token == "[]":
        there = at == "mounts" and node and not last
        return f"{at}[]", f"{name}[{0 if there else len(node)}]", ""
    key = KEYS.get(at, "key") if token == "*" else token
    return (f"{at}.{token}", f"{name}.{key}", key) if at else (token, key, key)
