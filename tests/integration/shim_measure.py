"""Measures the shim: `python tests/integration/shim_measure.py [fake|native]`, on an idle machine, as root for native.

launch -> started   from the call in the daemon to the event, less the runtime's own time when called directly (fake)
exit                from the death of init (as the shim saw it) to the daemon's having the event
exec                a detached exec, request to reply
memory              a shim's PSS + page tables + kernel stack, of 50, at rest and after it has worked
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = [
    ROOT / "tests/unit/shim",
    ROOT / "tests/integration",
    ROOT / "plugins/runtime_native",
    ROOT / "plugins/log_jsonfile",
]
sys.path += [str(path) for path in PATHS]

from native_bundle import docker_config, make_rootfs  # noqa: E402
from shim_harness import FAKES, Machine  # noqa: E402

from barque.shim.launching import DriverRef  # noqa: E402

NATIVE = DriverRef("runtime", "native", "barque_runtime_native.plugin", "NativeRuntime")
JSON_LOG = DriverRef("log", "json", "barque_log_jsonfile.plugin", "JsonFileLog")
ROUNDS = 100


def main(runtime: str) -> None:
    directory = Path(tempfile.mkdtemp(prefix="shim-measure-"))
    drivers = [JSON_LOG, *([NATIVE] if runtime == "native" else []), *FAKES]
    machine = Machine(directory, drivers)
    if runtime == "native":
        make_rootfs(directory / "image")

    def start(id: str, *args: str):
        spec = None
        if runtime == "native":
            spec = docker_config(directory / "image", *args, cgroup=f"/barque-test-shim/{id}")
        return machine.launch(*args, id=id, runtime=runtime, log="json", spec=spec)

    try:
        starts(start)
        execs(start, directory)
        memory(machine, start)
        flood(machine)
    finally:
        machine.close()
        shutil.rmtree(directory)
        for parent in Path("/sys/fs/cgroup").glob("*/barque-test-shim"):
            parent.rmdir()


def starts(start) -> None:
    started, ended = [], []
    for number in range(ROUNDS):
        time.sleep(0.01)
        before = time.perf_counter()
        container = start(f"s{number}", "true").started()
        started.append(time.perf_counter() - before)
        exit_ns = container.until("exit")["time_ns"]
        ended.append((time.time_ns() - exit_ns) / 1e9)
        container.release()
        container.control.close()
    show("launch -> started", started)
    show("init reaped -> exit event", ended)


def execs(start, directory: Path) -> None:
    container = start("execs", "sleep", "1000").started()
    process = docker_config(directory / "image", "true")["process"]
    times = []
    with container.client() as shim:
        for number in range(ROUNDS):
            before = time.perf_counter()
            shim.exec(f"e{number}", process, None, None)
            times.append(time.perf_counter() - before)
    show("exec, detached", times)


def memory(machine: Machine, start) -> None:
    containers = [start(f"m{number}", "sleep", "1000").started() for number in range(50)]
    time.sleep(1)
    children = Path(f"/proc/{machine.launcher.pid}/task/{machine.launcher.pid}/children").read_text().split()
    shims = [int(pid) for pid in children if b"barque-shim m" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(shims) == 50
    print(f"{'memory at rest':28}{statistics.median(map(kibibytes, shims)):8.0f} KiB")
    for container in containers:
        with container.client() as shim:
            shim.hello()
    print(f"{'memory after a hello':28}{statistics.median(map(kibibytes, shims)):8.0f} KiB")
    times = []
    for container in containers:
        before = time.perf_counter()
        os.kill(container.pid, signal.SIGKILL)
        container.until("exit")
        times.append(time.perf_counter() - before)
        container.release()
    show("SIGKILL -> exit event", times)


def flood(machine: Machine) -> None:
    size = 200_000_000
    before = time.perf_counter()
    options = {"max-size": "1m", "max-file": "2"}
    container = machine.launch(
        "sh",
        "-c",
        f"yes 0123456789012345678901234567890123456789 | head -c {size}",
        id="flood",
        log="json",
        log_options=options,
    ).started()
    container.until("exit")
    print(f"{'200 MB of log, 1m x 2':28}{time.perf_counter() - before:8.1f} s")


def kibibytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    share = int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return share + int(re.search(r"^VmPTE:\s+(\d+)", status, re.M)[1]) + 16


def show(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    tenth, ninth = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.1, 0.9))
    print(f"{what:28}{statistics.median(ordered) * 1e3:8.2f} ms   (10%: {tenth:.2f}, 90%: {ninth:.2f})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fake")
