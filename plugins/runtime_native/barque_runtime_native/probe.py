"""What this host lacks for the native runtime."""

from __future__ import annotations

import os

from barque.spi import Probe, Problem
from barque.spi.errors import BarqueError, FailedPrecondition
from barque_runtime_native.cgroup_layout import read_layout, read_text
from barque_runtime_native.seccomp import load_library
from barque_runtime_native.syscall_table import supported

OLDEST = (5, 12)


def probe() -> Probe:
    """Looks only; < 1 ms but for the search for libseccomp's name, which opens the library."""
    problems: list[Problem] = []
    release = os.uname().release
    if not supported():
        problems.append(
            Problem(f"the native runtime does not know the architecture {os.uname().machine}", "use runc")
        )
    if version_of(release) < OLDEST:
        problems.append(
            Problem(f"Linux {release} lacks mount_setattr(2)", "use Linux 5.12 or newer, or runc")
        )
    facts = {"kernel": release}
    try:
        layout = read_layout(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup"))
        facts["cgroup"] = "v2" if layout.unified else "v1"
    except (BarqueError, OSError) as error:
        problems.append(Problem(str(error), "mount the cgroup file systems"))
    if not has_seccomp():
        problems.append(
            Problem("libseccomp.so.2 is not installed", "install the package libseccomp2", fatal=False)
        )
    if os.geteuid():
        problems.append(Problem("the native runtime needs root", "run as root, or use a rootless profile"))
    return Probe(tuple(problems), facts)


def version_of(release: str) -> tuple[int, int]:
    """Major and minor number of a kernel release such as 6.1.0-18-amd64."""
    numbers = release.split("-")[0].split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (IndexError, ValueError):
        return 0, 0


def has_seccomp() -> bool:
    """Whether libseccomp can be loaded."""
    try:
        load_library()
    except FailedPrecondition:
        return False
    return True
