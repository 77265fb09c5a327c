"""Other engines with `barque-runtime` in runc's place, each in namespaces of its own, with everything in one directory."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from barque.testing import need

RUNTIME = Path(sys.executable).parent / "barque-runtime"
# /run and /dev/shm: what an engine keeps beside its configured directories. The unified mount of a hybrid host is
# taken away because dockerd, podman and crun take it for more than it is.
PREPARE = (
    "ip link set lo up && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm && "
    "{ ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; } && echo ready && exec sleep 1000000"
)


class Place:
    """A network and a mount namespace, and a directory; all of it is gone after `close`."""

    def __init__(self, name):
        for tool in ("unshare", "nsenter", "ip", "mountpoint"):
            need.tool(tool)
        if not RUNTIME.exists():
            need.unavailable(f"needs {RUNTIME} (pip install -e .)")
        # short, for the sockets below it
        self.directory = Path(tempfile.mkdtemp(prefix=f"bq-{name}-", dir="/tmp"))
        self.directory.chmod(0o755)  # for the root of a user namespace
        self.cgroup = f"/barque-test-{name}-{os.getpid()}"
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", PREPARE],
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout.readline() == b"ready\n"
        base = f"/proc/{self.holder.pid}/ns"
        self.enter = ["nsenter", f"--net={base}/net", f"--mount={base}/mnt", "--"]

    def run(self, *words, stdin=None, timeout=60, **options):
        """A command inside; its output as text."""
        return subprocess.run(
            [*self.enter, *map(str, words)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def start(self, *words, log):
        """A daemon inside."""
        with (self.directory / log).open("wb") as out:
            return subprocess.Popen(
                [*self.enter, *map(str, words)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def cgroups(self):
        """What is left of this place's cgroups, children before parents."""
        found = [path for path in Path("/sys/fs/cgroup").glob(f"*{self.cgroup}/**/") if path.is_dir()]
        return sorted(found, reverse=True)

    def close(self):
        """End whatever still lives inside, and remove the rest."""
        self.holder.stdout.close()
        end_all_in(os.stat(f"/proc/{self.holder.pid}/ns/mnt").st_ino)
        self.holder.wait()
        wait_for(self.remove_cgroups)
        shutil.rmtree(self.directory)

    def remove_cgroups(self):
        """Whether all are gone; the kernel holds one back for as long as a killed process is in it."""
        for path in self.cgroups():
            with contextlib.suppress(OSError):
                path.rmdir()
        return not self.cgroups()


def end_all_in(namespace, seconds=10.0):
    """Kill every process of a mount namespace, and wait until there is none."""
    deadline = time.monotonic() + seconds
    while inside := [
        pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if lives_in(pid, namespace)
    ]:
        assert time.monotonic() < deadline, f"processes {inside} do not end"
        for pid in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def lives_in(pid, namespace):
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino == namespace
    except OSError:  # it is gone
        return False


def need_all_hierarchies():
    """Skip where a v1 hierarchy exists that is not mounted here: containerd's statistics then find no cgroup at all."""
    lines = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    mounted = Path("/proc/self/mounts").read_text()
    missing = [name for name in lines if name and f"{name.removeprefix('name=')}" not in mounted]
    if missing:
        pytest.skip(f"cgroup hierarchies that are mounted elsewhere only: {missing}")


def wait_for(condition, seconds=20.0):
    """Until `condition()` is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return value
