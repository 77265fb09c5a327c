"""What the stress tests share: a daemon in a namespace of its own, a census of it, and whether to go the whole way.

`BARQUE_STRESS=full pytest tests/e2e/test_stress_*.py` runs the rows in the sizes that ACCEPTANCE.md names (R17 500 cycles, R36 ten
minutes, R37 1000 containers); without it the suite runs the same in small.
"""

import os
import shutil
import socket
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

from cgroup_parents import cgroups_below
from registry_image import busybox_archive

from barque.testing import need
from barque.testing.daemon import Daemon, Lab

FULL = os.environ.get("BARQUE_STRESS") == "full"


def factor():
    """How many times the seconds of a row may be taken now. They are those of a machine that does nothing else; in the suite two other
    workers share two processors with the test, and wait for the same disk. What the limits are to show (that nothing is quadratic,
    polled in seconds, or waits for a lock that somebody holds for long) is still seen; what the daemon itself uses has no factor."""
    alone = 4.0 if "PYTEST_XDIST_WORKER" in os.environ else 1.0
    return min(8.0, max(alone, os.getloadavg()[0] / (os.cpu_count() or 1)))


@contextmanager
def stressed(environment=None):
    """A daemon with the image; alone in its network namespace. A hung one can be asked where: see `where`."""
    for tool in ("docker", "nsenter", "ip", "nft"):
        need.tool(tool)
    lab = Lab()
    base = Path(tempfile.mkdtemp(prefix="bq-st-", dir="/tmp"))
    daemon = Daemon(base, lab, environment={"PYTHONFAULTHANDLER": "1", **(environment or {})})
    try:
        daemon.start()
        archive = base / "bb.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-q", "-i", str(archive)).returncode == 0
        yield daemon
    finally:
        if not daemon.answers():
            daemon.environment = {}
            daemon.start()
        daemon.close()
        lab.close()
        shutil.rmtree(base, ignore_errors=True)


def where(daemon):
    """Where each thread of a daemon is that does not answer. It dies of it."""
    daemon.process.send_signal(6)
    daemon.process.wait(10)
    return daemon.log.read_text()[-20000:]


def census(daemon, parent):
    """Everything that containers below the cgroup `parent` could leave, as sorted lines."""
    lab = daemon.lab
    found = [*_processes(daemon)]
    found += [
        f"mount {line.split()[1]}"
        for line in Path("/proc/mounts").read_text().splitlines()
        if str(daemon.base) in line
    ]
    found += [f"cgroup {path}" for path in cgroups_below(parent)]
    links = lab.run("ip", "-o", "link").stdout.decode().splitlines()
    # prepared endpoints come and go under names of their own: their number is what counts
    found += [f"link {line.split()[1].partition('@')[0][:3]}" for line in links]
    listed = lab.run("nft", "-s", "list", "ruleset")
    assert listed.returncode == 0, listed.stderr
    found += [f"nft {line.strip()}" for line in listed.stdout.decode().splitlines()]
    for place in ("root/containers", "run/containers", "root/storage/overlay/snapshots", "root/volumes"):
        found += [f"directory {path}" for path in (daemon.base / place).glob("[!.]*")]
    return sorted(found)


def _processes(daemon):
    """Shims in the daemon's network namespace, and the daemon's zombies."""
    ours = os.readlink(f"/proc/{daemon.process.pid}/ns/net")
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if "barque-shim" in command and os.readlink(path / "ns/net") == ours:
                    yield f"process {command}"
                elif state == "Z" and int(parent) == daemon.process.pid:
                    yield "zombie of the daemon"


def becomes(expected, look, seconds=15.0):
    """Wait until the lines of `look()` are those `expected`, and say what is different when they do not become so."""
    deadline = time.monotonic() + seconds
    while (found := look()) != expected:
        if time.monotonic() > deadline:
            more, less = Counter(found) - Counter(expected), Counter(expected) - Counter(found)
            raise AssertionError("\n".join(["more:", *more.elements(), "less:", *less.elements()]))
        time.sleep(0.1)


def resident(daemon):
    """The daemon's resident memory in bytes."""
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(daemon):
    """How many the daemon has open."""
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


@contextmanager
def hijacked(daemon, path, body=b"", timeout=20.0, method="POST", read=True):
    """A connection that has asked for a stream: (the socket, the answer's first bytes, unless none are to be read)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(str(daemon.socket))
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        yield client, client.recv(4096) if read else b""


def shim_of(daemon, id):
    """The pid of a container's shim; right after a start init's parent may still be the worker that made it."""
    pid = daemon.json("GET", f"/containers/{id}/json")["State"]["Pid"]
    deadline = time.monotonic() + 10
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        shim = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid")))
        if b"barque-shim" in Path(f"/proc/{shim}/cmdline").read_bytes():
            return shim
        assert time.monotonic() < deadline
        time.sleep(0.005)


def processor_seconds(daemon):
    """What the daemon has used since it was started (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
