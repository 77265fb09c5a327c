"""Bundles for the native runtime's tests: static busybox below Docker's default profile, without any engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CAPABILITIES = [
    f"CAP_{name}"
    for name in "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
    "SYS_CHROOT KILL AUDIT_WRITE".split()
]
MASKED = [
    *(
        f"/proc/{name}"
        for name in "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats".split()
    ),
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY = [f"/proc/{name}" for name in "bus fs irq sys sysrq-trigger".split()]
BUSYBOX = "/bin/busybox"
CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = (CGROUPS / "cgroup.controllers").exists()


def make_rootfs(path: Path) -> Path:
    """A root file system with busybox under all its names."""
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "root"):
        (path / name).mkdir(parents=True)
    path.chmod(0o755)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    applets = (
        "sh cat ls id true false mount umount ps echo hostname grep ip tty stat kill mkdir mknod env pwd "
        "sleep dd touch head unshare wc readlink od sha256sum chroot"
    ).split()
    for applet in applets:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    return path


def mount(destination: str, fstype: str, source: str, *options: str) -> dict[str, Any]:
    """One entry of `mounts`."""
    return {"destination": destination, "type": fstype, "source": source, "options": list(options)}


def seccomp_profile() -> dict[str, Any]:
    """Docker's default profile, resolved for the default capabilities on x86_64."""
    document = json.loads((Path(__file__).parent / "native_seccomp_default.json").read_text())
    rules = []
    for rule in document["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not set(includes.get("caps", ())) <= set(CAPABILITIES) or set(excludes.get("caps", ())) & set(
            CAPABILITIES
        ):
            continue
        if (includes.get("arches") and "amd64" not in includes["arches"]) or "amd64" in excludes.get(
            "arches", ()
        ):
            continue
        rules.append(
            {key: value for key, value in rule.items() if key in ("names", "action", "args", "errnoRet")}
        )
    return {
        "defaultAction": document["defaultAction"],
        "defaultErrnoRet": document["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }


def docker_config(rootfs: Path, *args: str, cgroup: str = "/barque-test-native") -> dict[str, Any]:
    """What dockerd writes for `docker run`, with a network namespace of its own."""
    safe = ("nosuid", "noexec", "nodev")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "cwd": "/",
            "env": ["PATH=/usr/local/bin:/bin"],
            "capabilities": {name: [*CAPABILITIES] for name in ("bounding", "effective", "permitted")},
            "oomScoreAdj": 0,
        },
        "root": {"path": str(rootfs)},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", "proc", *safe),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            mount("/sys", "sysfs", "sysfs", *safe, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "ro"),
            mount("/dev/mqueue", "mqueue", "mqueue", *safe),
            mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=67108864"),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": 256 << 20, "swap": 512 << 20},
                "cpu": {"shares": 512, "quota": 50000, "period": 100000},
                "pids": {"limit": 200},
            },
            "namespaces": [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
            "seccomp": seccomp_profile(),
        },
    }


def write_config(bundle: Path, config: dict[str, Any]) -> Path:
    """Write config.json."""
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def import_paths() -> str:
    """PYTHONPATH for a process that runs the runtime from the checkout."""
    return os.pathsep.join((str(REPOSITORY / "core"), str(REPOSITORY / "plugins/runtime_native")))


COMMAND = [sys.executable, "-c", "from barque_runtime_native.command import main; main()"]


class Box:
    """One container at a time, through the command `barque-runtime`."""

    def __init__(self, directory: Path, rootfs: Path) -> None:
        self.directory = directory
        self.rootfs = rootfs
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.cgroup = f"/barque-test-native-{os.getpid()}"

    def config(self, *args: str) -> dict[str, Any]:
        """Docker's default for `args`."""
        return docker_config(self.rootfs, *args, cgroup=f"{self.cgroup}/box")

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """One command."""
        return subprocess.run(
            [*options.pop("before", ()), *COMMAND, "--root", str(self.root), *words],
            stdin=options.pop("stdin", subprocess.DEVNULL),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": import_paths()},
            **options,
        )

    def run(self, config: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
        """`run` to the end."""
        write_config(self.bundle, config)
        return self.call("run", "--bundle", str(self.bundle), *options, "box")

    def sh(self, script: str, **changes: Any) -> str:
        """The output of a shell script under the default profile; `changes` go into the process."""
        config = self.config("sh", "-c", script)
        config["process"].update(changes)
        result = self.run(config)
        assert result.returncode == 0, result
        return result.stdout

    def start(self, *args: str, config: dict[str, Any] | None = None, id: str = "box") -> int:
        """Start it, detached; its pid."""
        write_config(self.bundle, config or self.config(*args))
        pid_file = self.directory / "pid"
        self.detached("run", "-d", "-b", str(self.bundle), "--pid-file", str(pid_file), id)
        return int(pid_file.read_text())

    def detached(self, *words: str) -> None:
        """A command whose container lives on. Output goes to files: a pipe would be held open."""
        log = self.directory / "stderr"
        with log.open("wb") as stderr, (self.directory / "stdout").open("wb") as stdout:
            result = subprocess.run(
                [*COMMAND, "--root", str(self.root), *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                timeout=60, check=False, env={**os.environ, "PYTHONPATH": import_paths()},
            )  # fmt: skip
        assert result.returncode == 0, log.read_text()

    def state(self) -> dict[str, Any]:
        """The state."""
        result = self.call("state", "box")
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def cgroup_file(self, controller: str, file: str) -> str:
        """A control file of the box; `controller` names the hierarchy of cgroup v1."""
        hierarchy = CGROUPS if UNIFIED else CGROUPS / controller
        return Path(f"{hierarchy}{self.cgroup}/box/{file}").read_text().strip()

    def cgroups(self, below: str = "") -> list[Path]:
        """Directories below the parent of the box's cgroups, in every hierarchy: `/box`, `/*`; the parents themselves."""
        top = f"{self.cgroup[1:]}{below}"
        return [path for path in (*CGROUPS.glob(top), *CGROUPS.glob(f"*/{top}")) if path.is_dir()]

    def close(self) -> None:
        """Delete it, and see that nothing is left."""
        for path in self.root.iterdir() if self.root.exists() else ():
            if not path.name.startswith("."):
                self.call("delete", "--force", path.name)
        left = self.cgroups("/*")
        for path in self.cgroups():
            path.rmdir()
        assert left == []
        states = [path.name for path in self.root.iterdir()] if self.root.exists() else []
        assert set(states) <= {".seccomp"}
        assert str(self.directory) not in Path("/proc/self/mounts").read_text()
