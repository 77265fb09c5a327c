#!/usr/bin/env python3
"""Side-by-side benchmark of Docker-API engines and OCI runtimes.

    python bench.py --engine dockerd=unix:///run/docker.sock --engine barque=unix:///run/barque.sock
    python bench.py --runtime runc=/usr/sbin/runc --runtime crun=/usr/bin/crun --only oci
    python bench.py --only limit

The targets take turns, run by run (A B A B ...), so that a noisy machine is
noisy to all of them.  The first target is what the others are compared to.
Every run checks that the work was done; a target that fails shows as FAIL.
See README.md for the cases and how to start the peers.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

from benchlib.budgets import budgets
from benchlib.cases import CASES, load_all
from benchlib.data import Data
from benchlib.engine import IMAGE, Engine, Runtime
from benchlib.stats import table
from benchlib.warm import WarmRuntime

load_all()
GIVE_UP = 3  # failures of one target in one variant, then it sits out


def arguments():
    def pair(text):
        name, sep, value = text.partition("=")
        if not sep:
            raise argparse.ArgumentTypeError("want NAME=VALUE")
        return name, value

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", type=pair, action="append", default=[], metavar="NAME=unix:///SOCK")
    p.add_argument("--runtime", type=pair, action="append", default=[], metavar="NAME=/PATH")
    p.add_argument(
        "--cli",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=CMD",
        help="use CMD instead of `docker -H SOCK` for engine NAME",
    )
    p.add_argument(
        "--own-cli",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=CMD",
        help="the command line that engine NAME brings itself (case cli_version)",
    )
    p.add_argument(
        "--warm", action="store_true", help="also the native runtime through the launcher (case oci)"
    )
    p.add_argument(
        "--restart",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=CMD",
        help="shell command that starts engine NAME again (case daemon_restart)",
    )
    p.add_argument(
        "--procs",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=REGEX",
        help="further processes of engine NAME, by command line (case density)",
    )
    p.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CASE",
        help="CASE or CASE/VARIANT; may be repeated.  Cases: " + ", ".join(CASES) + ", limit",
    )
    p.add_argument("--skip", action="append", default=[], metavar="CASE")
    p.add_argument("--runs", type=int, help="rounds per variant (each case has its own default)")
    p.add_argument("--json", metavar="FILE", help="write all samples there")
    p.add_argument("--work", default="/tmp/barque-bench", help="fixtures are made and kept here")
    p.add_argument("--rate-n", type=int, default=24, help="containers of start_rate")
    p.add_argument("--density", type=lambda t: [int(x) for x in t.split(",")], default=[50, 200])
    p.add_argument("--restart-n", type=int, default=20, help="containers of daemon_restart")
    return p.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


class Results:
    """{row: {target: {'unit', 'values', 'fail'}}}"""

    def __init__(self):
        self.rows = {}

    def cell(self, row, target, unit=""):
        return self.rows.setdefault(row, {}).setdefault(str(target), {"unit": unit, "values": [], "fail": []})

    def add(self, row, target, unit, value):
        c = self.cell(row, target, unit)
        c["unit"] = unit
        c["values"].append(value)

    def fail(self, row, target, why):
        say(f"    FAIL {row} {target}: {why}")
        self.cell(row, target)["fail"].append(str(why))


def run_variant(case, variant, targets, runs, results):
    row = case.name + (f"/{variant}" if variant else "")
    say(f"{row}: {runs} rounds of {', '.join(map(str, targets))}")
    live, failures = [], {}

    def attempt(target, step, *args):
        try:
            got = step(target, variant, *args)
            # a generator is drained here, sample by sample, so that what came before a failure stays
            for metric, unit, value in got or ():
                if args and args[0] >= 0:
                    results.add(row + (f": {metric}" if metric else ""), target, unit, value)
            return True
        except Exception as e:
            results.fail(row, target, f"{type(e).__name__}: {e}" if str(e) else type(e).__name__)
            failures[target] = failures.get(target, 0) + 1
            return False

    for t in targets:
        if case.kind == "engine":
            t.cpu.attach()
        if attempt(t, case.setup):
            live.append(t)
    for i in range(-case.warmup, runs):
        for t in live:
            if failures.get(t, 0) < GIVE_UP:
                attempt(t, case.run, i)
    for t in live:
        attempt(t, case.teardown)


def machine():
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def cpu_ticks():
    """(all, idle, stolen) clock ticks of the machine so far."""
    v = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return sum(v), v[3] + v[4], v[7]


def main():
    opt = arguments()
    engines = [Engine(n, u) for n, u in opt.engine]
    runtimes = [Runtime(n, p) for n, p in opt.runtime] + ([WarmRuntime()] if opt.warm else [])
    for e in engines:
        e.own_cli_cmd = dict(opt.own_cli).get(e.name, "").split() or None
        e.restart_cmd = dict(opt.restart).get(e.name)
        e.extra_procs = dict(opt.procs).get(e.name)
        e.cli_cmd = dict(opt.cli).get(e.name, "").split() or e.cli_cmd
    fx = Data(opt.work)
    results, info = Results(), machine()
    info["targets"] = {str(t): t.version() for t in engines + runtimes}
    for name, version in info["targets"].items():
        say(f"{name}: {version}")
    info["noise"] = {}

    wanted = {}
    for o in opt.only:
        name, _, variant = o.partition("/")
        if name not in CASES and name != "limit":
            sys.exit(f"no case {name}")
        wanted.setdefault(name, set()).add(variant)

    try:
        for e in engines:
            e.cleanup()
            e.load(fx.base_archive(IMAGE))
        for name, cls in CASES.items():
            targets = engines if cls.kind == "engine" else runtimes
            if not targets or (wanted and name not in wanted) or name in opt.skip:
                continue
            case = cls(fx, opt)
            for variant in case.variants:
                if wanted and not wanted[name] & {"", variant}:
                    continue
                before = cpu_ticks()
                taking = [t for t in targets if case.takes(t, variant)]
                run_variant(case, variant, taking, opt.runs or cls.runs, results)
                total, idle, stolen = (b - a for a, b in zip(before, cpu_ticks()))
                info["noise"][f"{name}/{variant}"] = {
                    "load": os.getloadavg()[0],
                    "idle": round(idle / max(total, 1), 3),
                    "stolen": round(stolen / max(total, 1), 3),
                }
                save(opt.json, info, results)
    finally:
        fx.close()
        for e in engines:
            try:
                e.cleanup()
                e.cpu.detach()
            except Exception as err:
                say(f"cleanup of {e}: {err}")

    if "limit" in wanted or (not wanted and "limit" not in opt.skip):
        out = subprocess.run(
            [fx.limit(), "-n", str(opt.runs or 50), "-r", fx.rootfs()],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": fx.work},
        )
        info["limit"] = out.stdout + out.stderr
        print(info["limit"])
    if results.rows:
        print("\n".join(table(results.rows, [str(t) for t in engines + runtimes])))
        print("\n".join(budgets(results.rows)))
    save(opt.json, info, results)
    return 1 if any(c["fail"] for by in results.rows.values() for c in by.values()) else 0


def save(path, info, results):
    if path:
        with open(path, "w") as f:
            json.dump({"machine": info, "results": results.rows}, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
