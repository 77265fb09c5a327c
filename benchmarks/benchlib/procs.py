"""Which processes are the engine, and what memory and CPU time do they take?"""

import contextlib
import glob
import os
import re


def _stat(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])  # ppid


def _all():
    parents = {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                parents[int(p)] = _stat(p)
            except OSError:
                pass
    return parents


def engine_pids(eng, container_pids):
    """The listener of the socket and its descendants; the monitors (each container's
    ancestors below init: shims, conmon) and their descendants; and what --procs names.
    The containers' own workload is not counted, but an engine's init inside is."""
    parents = _all()
    children = {}
    for pid, pp in parents.items():
        children.setdefault(pp, []).append(pid)
    daemon = eng.daemon_pid()
    roots, outside = {daemon}, {0, 1, os.getpid()}
    pp = parents.get(daemon, 1)
    while pp > 1:  # whoever started the daemon is not the engine
        outside.add(pp)
        pp = parents.get(pp, 1)
    for p in container_pids:
        pp = parents.get(p, 1)
        while pp not in outside:
            roots.add(pp)
            pp = parents.get(pp, 1)
    if eng.extra_procs:
        for p in parents:
            try:
                cmd = open(f"/proc/{p}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if re.search(eng.extra_procs, cmd) and p != os.getpid():
                roots.add(p)
    found, todo = set(), list(roots)
    while todo:
        p = todo.pop()
        if p not in found:
            found.add(p)
            todo += children.get(p, [])
    return {p for p in found if not _workload(p)}


def _workload(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[:2] == [b"sleep", b"1000000"]
    except OSError:
        return True


def engine_memory(eng, container_pids):
    """PSS + page tables + kernel stacks of all engine processes, in bytes."""
    total = threads = count = 0
    for p in engine_pids(eng, container_pids):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            status = dict(line.split(":", 1) for line in open(f"/proc/{p}/status"))
        except (OSError, StopIteration):
            continue
        n = int(status["Threads"])
        total += (pss + int(status.get("VmPTE", "0 kB").split()[0]) + 16 * n) * 1024
        threads += n
        count += 1
    return {"total": total, "threads": threads, "processes": count}


def mem_available():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))


class CpuMeter:
    """CPU time of an engine and of all it starts, containers included.

    Wall time on a busy machine is mostly the others' noise; CPU time hardly is.
    The engine's processes are put into a cpuacct (cgroup v1) group, which their
    children inherit, and the containers get the same group as their parent.
    What the kernel does in its own threads (netns teardown) is not in it.
    Without cgroup v1 there is no meter, and the cases yield no cpu rows."""

    def __init__(self, eng):
        self.eng, self.group = eng, f"/barque-bench-{eng.name}"
        self.dir = "/sys/fs/cgroup/cpuacct" + self.group
        self.on = os.path.exists("/sys/fs/cgroup/cpuacct/cpuacct.usage")

    def attach(self):
        """Before each variant: the engine may have been restarted."""
        if self.on:
            os.makedirs(self.dir, exist_ok=True)
            for pid in engine_pids(self.eng, []):
                with contextlib.suppress(OSError):
                    with open(self.dir + "/cgroup.procs", "w") as f:
                        f.write(str(pid))

    def ms(self):
        with open(self.dir + "/cpuacct.usage") as f:
            return int(f.read()) / 1e6

    def detach(self):
        for pid in engine_pids(self.eng, []) if self.on else ():
            with contextlib.suppress(OSError):
                with open("/sys/fs/cgroup/cpuacct/cgroup.procs", "w") as f:
                    f.write(str(pid))
        for d in glob.glob("/sys/fs/cgroup/*" + self.group):
            for sub in sorted(glob.glob(d + "/**/", recursive=True), reverse=True):
                with contextlib.suppress(OSError):
                    os.rmdir(sub)
