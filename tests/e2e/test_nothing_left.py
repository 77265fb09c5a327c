"""Two hundred runs in a row leave nothing behind (row R17's cycles, in small)."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cgroup_parents import cgroups_below, remove_cgroups
from registry_image import IMAGE

pytestmark = pytest.mark.root
PARENT = f"/bq-nothing-left-{os.getpid()}"


def census(daemon, lab):
    """Everything a run could leak, as sorted lines."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if "barque-shim" in command and os.readlink(path / "ns/net") == os.readlink(
                    f"/proc/{daemon.process.pid}/ns/net"
                ):
                    found.append(f"process {command}")
                elif state == "Z" and int(parent) == daemon.process.pid:
                    found.append("zombie of the daemon")
    found += [
        f"mount {line.split()[1]}"
        for line in Path("/proc/mounts").read_text().splitlines()
        if str(daemon.base) in line
    ]
    found += [f"cgroup {p}" for p in cgroups_below(PARENT)]
    links = lab.run("ip", "-o", "link").stdout.decode().splitlines()
    # prepared endpoints come and go under names of their own: their number is what counts
    found += sorted(f"link {line.split()[1].partition('@')[0][:3]}" for line in links)
    rules = lab.run("nft", "-s", "list", "ruleset").stdout.decode().splitlines()
    found += [f"nft {line.strip()}" for line in rules]
    roots = [
        daemon.base / "root" / "containers",
        daemon.base / "run" / "containers",
        daemon.base / "root" / "storage" / "overlay" / "snapshots",
    ]
    found += [f"directory {p}" for root in roots for p in root.glob("*")]
    return sorted(found)


def descriptors(daemon):
    pid = daemon.process.pid
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.row("R17")
@pytest.mark.timeout(300)
def test_two_hundred_runs_leave_nothing(own_daemon, lab):
    daemon = own_daemon
    arguments = ("run", "--rm", "--cgroup-parent", PARENT, "-p", "18090:80", IMAGE, "echo", "hi")
    for _ in range(20):
        assert daemon.docker(*arguments).stdout == "hi\n"
    time.sleep(2)
    before, open_before = census(daemon, lab), descriptors(daemon)
    for _ in range(200):
        result = daemon.docker(*arguments)
        assert (result.stdout, result.returncode) == ("hi\n", 0), result.stderr
    deadline = time.monotonic() + 10
    while (after := census(daemon, lab)) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert after == before
    assert descriptors(daemon) <= open_before + 5
    remove_cgroups(PARENT)
