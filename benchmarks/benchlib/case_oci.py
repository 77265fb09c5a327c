"""Case 12: OCI runtimes on a bundle, without any engine."""

import json
import os
import random
import select
import shutil
import subprocess
import uuid

from .cases import Case, case, clock
from .engine import check
from .warm import WarmRuntime

CAPS = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]


def config(rootfs, args, cgroup):
    """What dockerd would write for `docker run --network none`, less seccomp."""
    dev = ["nosuid", "noexec", "nodev"]

    def m(dst, typ, src, *opts):
        return {"destination": dst, "type": typ, "source": src, "options": list(opts)}

    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin"],
            "noNewPrivileges": False,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPS),
        },
        "root": {"path": rootfs, "readonly": False},
        "hostname": "bench",
        "mounts": [
            m("/proc", "proc", "proc", *dev),
            m("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            m(
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
            m("/sys", "sysfs", "sysfs", *dev, "ro"),
            m("/dev/shm", "tmpfs", "shm", *dev, "mode=1777", "size=65536k"),
            m("/dev/mqueue", "mqueue", "mqueue", *dev),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "pids": {"limit": 1000},
                "memory": {"limit": 512 << 20},
            },
            "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


@case("oci", runs=30, warmup=2)
class Oci(Case):
    """run; create + start + (exit) + delete; exec.  Each checks a random word and exit code."""

    kind = "runtime"
    variants = ["run", "create-start-delete", "exec"]

    def takes(self, rt, variant):
        return variant == "run" or not isinstance(rt, WarmRuntime)

    def setup(self, rt, variant):
        self.dir = self.fx.path("oci", rt.name)
        shutil.rmtree(self.dir + "/bundle", ignore_errors=True)
        os.makedirs(self.dir + "/bundle")
        self.out = self.dir + "/out"
        if variant == "exec":
            self.write(rt, ["sleep", "1000000"])
            self.call(rt, "run", "--detach", "--bundle", self.dir + "/bundle", "bench-exec-" + rt.name)

    def write(self, rt, args):
        d = self.fx.path("oci", rt.name)
        with open(d + "/bundle/config.json", "w") as f:
            json.dump(config(self.fx.rootfs(), args, f"/barque-bench-{rt.name}"), f)

    def call(self, rt, *args, want=0):
        """The runtime's stdio goes to a file: a pipe would be held open by the container."""
        d = self.fx.path("oci", rt.name)
        with open(d + "/out", "wb") as f:
            r = subprocess.run(
                [rt.path, "--root", d + "/state", *args], stdin=subprocess.DEVNULL, stdout=f, stderr=f
            )
        text = open(d + "/out").read()
        check(r.returncode == want, f"{args[0]}: exit {r.returncode}, want {want}: {text[-200:]!r}")
        return text

    def run(self, rt, variant, i):
        d = self.fx.path("oci", rt.name)
        word, want = uuid.uuid4().hex, random.randrange(1, 100)
        cmd = ["sh", "-c", f"echo {word} $$; exit {want}"]
        name = f"bench-{uuid.uuid4().hex[:8]}"
        if variant == "exec":
            with clock() as c:
                text = self.call(rt, "exec", "bench-exec-" + rt.name, *cmd, want=want)
            check(text.startswith(word), f"output {text[:80]!r}")
            yield "", "ms", c.ms
            return
        self.write(rt, cmd)
        if isinstance(rt, WarmRuntime):
            ms, code, text = rt.run(d + "/bundle", name)
            check((code, text) == (want, f"{word} 1\n"), f"exit {code}, output {text[:80]!r}")
            yield "", "ms", ms
            return
        if variant == "run":
            with clock() as c:
                text = self.call(rt, "run", "--bundle", d + "/bundle", name, want=want)
            check(text == f"{word} 1\n", f"output {text[:80]!r}")
            yield "", "ms", c.ms
            return
        pid_file, out = d + "/pid", d + "/box-out"
        with open(out, "wb") as f, clock() as total:
            with clock() as create:
                r = subprocess.run(
                    [
                        rt.path,
                        "--root",
                        d + "/state",
                        "create",
                        "--bundle",
                        d + "/bundle",
                        "--pid-file",
                        pid_file,
                        name,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=f,
                    stderr=f,
                )
            check(r.returncode == 0, f"create: {open(out).read()[-200:]!r}")
            fd = os.pidfd_open(int(open(pid_file).read()))
            with clock() as start:
                self.call(rt, "start", name)
            select.select([fd], [], [], 10)
            os.close(fd)
            with clock() as delete:
                self.call(rt, "delete", name)
        text = open(out).read()
        check(text == f"{word} 1\n", f"output {text[:80]!r}")
        check(not os.path.exists(f"{d}/state/{name}"), "state left after delete")
        yield "", "ms", total.ms
        for k, v in (("create", create), ("start", start), ("delete", delete)):
            yield k, "ms", v.ms

    def teardown(self, rt, variant):
        if variant == "exec":
            self.call(rt, "delete", "--force", "bench-exec-" + rt.name)
