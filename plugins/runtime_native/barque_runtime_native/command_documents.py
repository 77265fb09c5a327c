"""`barque-runtime spec` and `features`."""

from __future__ import annotations

import os
import sys

from barque.spi.errors import AlreadyExists
from barque_runtime_native.capabilities import NUMBERS
from barque_runtime_native.command_options import Options
from barque_runtime_native.hooks import KINDS as HOOKS
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.mount_options import ATTRIBUTES, PROPAGATION
from barque_runtime_native.namespaces import KINDS as NAMESPACES
from barque_runtime_native.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
SAFE = ["nosuid", "noexec", "nodev"]


def spec(_root: str, options: Options) -> int:
    """Write an example config.json into the bundle."""
    path = os.path.join(options.values.get("bundle", "."), "config.json")
    text = dumps(example(terminal=sys.stdin.isatty()), indent=True) + b"\n"
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists", hint="remove it first") from None
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
    return 0


def example(*, terminal: bool) -> dict[str, Any]:
    """A container that runs `sh`."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), DEFAULT_CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "barque",
        "mounts": example_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }  # fmt: skip


def example_mounts() -> list[dict[str, Any]]:
    """The usual file systems."""
    rows: tuple[tuple[str, str, str, list[str]], ...] = (
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/shm", "tmpfs", "shm", [*SAFE, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", SAFE),
        ("/sys", "sysfs", "sysfs", [*SAFE, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*SAFE, "relatime", "ro"]),
    )
    return [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in rows]


def features(_root: str, _options: Options) -> int:
    """Print what this runtime can do (runtime-spec "Features Structure")."""
    recursive = sorted(f"r{name}" for name in ATTRIBUTES)
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": list(HOOKS),
        "mountOptions": sorted({*ATTRIBUTES, *recursive, *PROPAGATION, "bind", "rbind", "tmpcopyup"}),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": list(NUMBERS),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": [action for action in ACTIONS if action != "SCMP_ACT_NOTIFY"],
                "operators": list(OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in ARCHITECTURES],
                "knownFlags": list(FLAGS),
                "supportedFlags": list(FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
    }
    print(dumps(document, indent=True).decode())
    return 0
