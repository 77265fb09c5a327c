"""Cases 1-5: starting, running, exec, rate, density."""

import os
import random
import threading
import uuid

from .cases import Case, case, clock, cpu_row
from .engine import IMAGE, check
from .procs import engine_memory, mem_available

SLEEP = ["sleep", "1000000"]


def sanity(eng, net):
    """Before any timing: is a container of this engine really one?"""

    def out(*cmd):
        return eng.output(list(cmd), net=net).decode().strip()

    word = uuid.uuid4().hex
    check(out("echo", word) == word, "echo came back wrong")
    host = {n: os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "mnt", "net", "ipc", "uts")}
    for n, own in host.items():
        check(out("readlink", f"/proc/self/ns/{n}") != own, f"no own {n} namespace")
    check(out("sh", "-c", "echo $$") == "1", "not PID 1")
    links = out("ls", "/sys/class/net").split()
    check("lo" in links, "no lo")
    check(("eth0" in links) == (net == "bridge"), f"{net}: interfaces are {links}")
    check(out("sh", "-c", "echo x >/new && cat /new") == "x", "root is not writable")
    cg = out("cat", "/proc/self/cgroup")
    check(any(":memory:" in x or x.startswith("0::") for x in cg.splitlines()), "no cgroup")


@case("run_rm", runs=20)
class RunRm(Case):
    """docker run --rm IMAGE echo NONCE, by the docker CLI."""

    variants = ["bridge", "none"]

    def setup(self, eng, net):
        sanity(eng, net)

    def run(self, eng, net, i):
        word = uuid.uuid4().hex
        cpu = ["--cgroup-parent", eng.cpu.group] if eng.cpu.on else []
        with clock(eng.by_cli()) as c:
            r = eng.cli(
                "run",
                "--rm",
                "--label",
                "barque-bench=1",
                *cpu,
                "--network",
                net,
                IMAGE,
                "echo",
                word,
                timeout=15,
            )
        check(
            r.returncode == 0 and r.stdout.decode().strip() == word,
            f"exit {r.returncode}: {r.stderr[-200:]!r}",
        )
        yield "", "ms", c.ms
        yield from cpu_row(c)


@case("api_lifecycle", runs=20)
class ApiLifecycle(Case):
    """create, start, wait, remove over one keep-alive connection.

    The exit code is a random number that must come back from wait."""

    variants = ["bridge", "none"]

    def setup(self, eng, net):
        sanity(eng, net)
        self.state[eng] = eng.conn()

    def run(self, eng, net, i):
        conn, want = self.state[eng], random.randrange(1, 100)
        with clock(eng) as total:
            with clock() as create:
                cid = eng.create(["sh", "-c", f"exit {want}"], net=net, conn=conn)
            with clock() as start:
                eng.start(cid, conn)
            with clock() as wait:
                code = eng.wait(cid, conn)
            with clock() as remove:
                conn.call("DELETE", f"/containers/{cid}")
        check(code == want, f"exit code {code}, want {want}")
        conn.call("GET", f"/containers/{cid}/json", ok=(404,))
        yield "", "ms", total.ms
        for k, v in (("create", create), ("start", start), ("wait", wait), ("remove", remove)):
            yield k, "ms", v.ms
        yield from cpu_row(total)

    def teardown(self, eng, net):
        self.state[eng].close()
        check(not eng.ours(), "containers were not removed")


@case("exec", runs=30, warmup=2)
class Exec(Case):
    """exec create + start (hijacked) + inspect of a short command in a running container."""

    def setup(self, eng, _):
        self.state[eng] = eng.run(SLEEP)

    def run(self, eng, _, i):
        word, want = uuid.uuid4().hex, random.randrange(1, 100)
        with clock(eng) as c:
            code, out = eng.exec(self.state[eng], ["sh", "-c", f"echo {word}; exit {want}"])
        check(out.decode().strip() == word, f"output {out[:60]!r}")
        check(code == want, f"exit code {code}, want {want}")
        yield "api", "ms", c.ms
        yield from cpu_row(c)
        with clock() as c:
            r = eng.cli("exec", self.state[eng], "true")
        check(r.returncode == 0, f"docker exec: {r.stderr[-200:]!r}")
        yield "cli", "ms", c.ms

    def teardown(self, eng, _):
        eng.remove(self.state[eng])


def in_parallel(n, items, work):
    """work(item, worker number) over items with n threads; re-raise the first error."""
    items, errors, lock = list(items), [], threading.Lock()

    def worker(k):
        while not errors:
            with lock:
                if not items:
                    return
                item = items.pop()
            try:
                work(item, k)
            except Exception as e:
                errors.append(e)

    threads = [threading.Thread(target=worker, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@case("start_rate", runs=3, warmup=0)
class StartRate(Case):
    """N containers created and started with 1, 2, 8 clients; then force-removed the same way."""

    variants = [f"{net}-c{c}" for net in ("bridge", "none") for c in (1, 2, 8)]

    def run(self, eng, variant, i):
        net, conc = variant.split("-c")
        n, conc, ids = self.opt.rate_n, int(conc), []
        conns = [eng.conn() for _ in range(conc)]

        def start(_, k):
            cid = eng.create(SLEEP, net=net, conn=conns[k])
            ids.append(cid)
            eng.start(cid, conns[k])

        with clock(eng) as c:
            in_parallel(conc, range(n), start)
        check(len(set(ids)) == n, f"{len(set(ids))} of {n} made")
        addresses = set()
        for cid in ids:  # really running, each in its own process
            info = eng.inspect(cid)
            check(info["State"]["Running"], "not running")
            with open(f"/proc/{info['State']['Pid']}/cmdline") as f:
                check("sleep" in f.read(), "PID is not our sleep")
            if net == "bridge":
                addresses.add(eng.address(cid))
        check(net != "bridge" or len(addresses) == n, "addresses are not unique")
        yield "start", "/s", n / (c.ms / 1000)
        yield from cpu_row(c, n, "engine CPU per start")
        with clock(eng) as c:
            in_parallel(conc, ids, lambda cid, k: eng.remove(cid, conns[k]))
        check(not eng.ours(), "left over after removal")
        yield "remove", "/s", n / (c.ms / 1000)
        yield from cpu_row(c, n, "engine CPU per remove")


@case("density", runs=20, warmup=1)
class Density(Case):
    """Memory of the engine's processes with N sleepers, and ps/inspect latency at that N.

    The latencies are interleaved while all engines hold their N containers."""

    def __init__(self, fixtures, options):
        super().__init__(fixtures, options)
        self.variants = [str(n) for n in options.density]
        self.memory = {}

    def setup(self, eng, variant):
        n = int(variant)
        before, free = engine_memory(eng, []), mem_available()
        ids = []
        conn = eng.conn()
        for _ in range(n):
            ids.append(eng.create(SLEEP, net="bridge", conn=conn))
            eng.start(ids[-1], conn)
        pids = [eng.inspect(c)["State"]["Pid"] for c in ids]
        for p in pids:
            check(open(f"/proc/{p}/cmdline").read().startswith("sleep"), "PID is not our sleep")
        after = engine_memory(eng, pids)
        self.state[eng] = ids
        self.memory[eng] = (before, after, (free - mem_available()) / n)

    def run(self, eng, variant, i):
        n, ids = int(variant), self.state[eng]
        if i <= 0:  # memory is measured once, at setup
            before, after, system = self.memory[eng]
            yield "engine idle, before", "MiB", before["total"] / 2**20
            yield "engine total", "MiB", after["total"] / 2**20
            yield "engine per container", "MiB", (after["total"] - before["total"]) / n / 2**20
            yield "engine processes", "", float(after["processes"])
            yield "engine threads", "", float(after["threads"])
            yield "whole system per container", "MiB", system / 2**20
        with clock() as c:
            r = eng.cli_ok("ps", "-q", "--filter", "label=barque-bench")
        check(len(r.split()) == n, f"docker ps shows {len(r.split())} of {n}")
        yield "docker ps (CLI)", "ms", c.ms
        with clock() as c:
            r = eng.api.call("GET", "/containers/json")
        check(sum(x["Id"] in set(ids) for x in r) == n, "list is not complete")
        yield "list (API)", "ms", c.ms
        cid = random.choice(ids)
        with clock() as c:
            r = eng.inspect(cid)
        check(r["Id"] == cid and r["State"]["Running"], "inspect is wrong")
        yield "inspect (API)", "ms", c.ms

    def teardown(self, eng, variant):
        conns = [eng.conn() for _ in range(2)]
        in_parallel(2, self.state[eng], lambda cid, k: eng.remove(cid, conns[k]))
