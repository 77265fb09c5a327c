"""`barque-runtime spec`."""

from __future__ import annotations

import os

from barque.spi.errors import AlreadyExists, NotFound
from barque_runtime_native.commands.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
SAFE = ["nosuid", "noexec", "nodev"]


def spec(_root: str, options: Options) -> int:
    """Write an example config.json into the bundle."""
    from json import dumps

    document = example()
    if "rootless" in options.flags:
        make_rootless(document, os.geteuid(), os.getegid())
    bundle = options.values.get("bundle", "")
    write_new(os.path.join(bundle, "config.json"), dumps(document, indent="\t").encode())
    return 0


def write_new(path: str, text: bytes) -> None:
    """Write a file that must not be there yet. Errors: AlreadyExists; NotFound when there is no such directory."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise AlreadyExists(f"File {path} exists. Remove it first") from None
    except FileNotFoundError:
        raise NotFound(f"chdir {os.path.dirname(path)}: no such file or directory") from None
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def example(*, terminal: bool = True) -> dict[str, Any]:
    """A container that runs `sh`."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {key: list(DEFAULT_CAPABILITIES) for key in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
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
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
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
        ("/dev/mqueue", "mqueue", "mqueue", list(SAFE)),
        ("/sys", "sysfs", "sysfs", [*SAFE, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*SAFE, "relatime", "ro"]),
    )
    return [
        {"destination": d, "type": t, "source": s, **({"options": o} if o else {})} for d, t, s, o in rows
    ]


def make_rootless(document: dict[str, Any], uid: int, gid: int) -> None:
    """Change the example so that the user `uid` can run it without any privilege.

    Its own ids are root inside; it keeps the host's network, because without privilege nothing could be connected to
    a new one, and so the host's /sys, because a new one may be mounted by the owner of the network namespace only;
    limits would need a cgroup that is delegated to it.
    """
    linux = document["linux"]
    del linux["resources"]
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    for mount in document["mounts"]:
        # group 5 (tty) has no id inside
        mount["options"] = [
            each for each in mount.get("options", ()) if not each.startswith(("gid=", "uid="))
        ]
        if not mount["options"]:
            del mount["options"]
        if mount["destination"] == "/sys":
            mount.update(type="none", source="/sys", options=["rbind", *SAFE, "ro"])
