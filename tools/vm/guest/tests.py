"""Inside the machine: run pytest as the host asked, report over the second serial port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tty
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
DOCUMENT = Path("/run/vm-junit.xml")


def main() -> None:
    """Set up what is the same below both kinds of init, run, report."""
    boot = uptime()
    subprocess.run(["modprobe", "-a", "loop", "fuse", "tun", "overlay", "bfq"], check=True)
    # the one scheduler that weighs the disks' users
    Path("/sys/block/nvme0n1/queue/scheduler").write_text("bfq")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/kernel/hostname").write_text("barque-vm")
    arguments = json.loads((CHECKOUT / ".vm-arguments").read_text())
    status = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={DOCUMENT}", *arguments],
        cwd=CHECKOUT, check=False, env={**os.environ, "BARQUE_VM": "1", "PYTEST_TIMEOUT": "600", "COLUMNS": "120", "TERM": "dumb"},
    ).returncode  # fmt: skip
    facts = {"status": status, "kernel": os.uname().release, "boot": boot, "seconds": uptime() - boot}
    document = DOCUMENT.read_text() if DOCUMENT.exists() else "<testsuites></testsuites>"
    report(f"{json.dumps(facts)}\n{document}\n")


def report(text: str) -> None:
    """To the host, all of it before the machine ends."""
    port = os.open("/dev/ttyS1", os.O_WRONLY | os.O_NOCTTY)
    tty.setraw(port)
    with open(port, "w") as file:
        file.write(text)
        file.flush()
        tty.tcdrain(port)


def uptime() -> float:
    """Seconds since the kernel began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


main()
