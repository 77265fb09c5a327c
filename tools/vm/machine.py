"""One run of the virtual machine: qemu without KVM, without network, without anything that outlives it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

# Mitigations cost, and there is nobody to protect. Without address randomisation qemu translates libpython once, not once
# a process: a start of Python takes a third of the time. A panic reboots, and a reboot ends qemu.
KERNEL_OPTIONS = (
    "console=ttyS0 root=/dev/nvme0n1 rw init=/sbin/vm-init panic=-1 mitigations=off norandmaps quiet loglevel=3 "
    "apparmor=1 security=apparmor swapaccount=1"
)


class Stuck(Exception):
    """The machine did not end by itself."""


def run(kernel: Path, disks: Sequence[Path], variables: dict[str, str], answer: Path, seconds: float) -> None:
    """Boot and wait for the end. The first serial port is our output, the second goes to the file `answer`.

    The disks are the namespaces n1, n2, … of one NVMe controller, which Debian's kernel has built in; what is written
    to them is forgotten. `variables` become the environment of the machine's init. Errors: Stuck after `seconds`.
    """
    command_line = " ".join([KERNEL_OPTIONS, *(f"{name}={value}" for name, value in variables.items())])
    words = [
        # dies with us, however we die
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
        "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-la57", "-smp", "2", "-m", "2G",
        "-kernel", str(kernel), "-append", command_line,
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-serial", f"file:{answer}",
        "-device", "nvme,id=nvme0,serial=barque",
    ]  # fmt: skip
    for number, disk in enumerate(disks, 1):
        words += ["-drive", f"if=none,id=disk{number},file={disk},format=raw,snapshot=on"]
        words += ["-device", f"nvme-ns,drive=disk{number},bus=nvme0,nsid={number}"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise Stuck(f"the machine did not end within {seconds:.0f} s") from error
    finally:
        process.kill()
        process.wait()
    if status:
        raise Stuck(f"qemu ended with status {status}")
