"""What this host lacks for the native runtime."""

from __future__ import annotations

import os

from barque.spi import Probe, Problem
from barque.spi.errors import BarqueError, FailedPrecondition
from barque_runtime_native.cgroup.layout import read_layout, read_text
from barque_runtime_native.kernel.syscall_table import supported
from barque_runtime_native.seccomp.compiler import load_library

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
        problems += rootless_problems()
    return Probe(tuple(problems), facts)


def rootless_problems() -> list[Problem]:
    """What an ordinary user lacks."""
    problems = []
    # the second is Debian's own, and missing elsewhere
    for name in ("user/max_user_namespaces", "kernel/unprivileged_userns_clone"):
        try:
            allowed = read_text(f"/proc/sys/{name}").strip() != "0"
        except OSError:
            continue
        if not allowed:
            problems.append(Problem("this user may not make user namespaces", f"raise /proc/sys/{name}"))
    if not all(os.access(f"/usr/bin/{tool}", os.X_OK) for tool in ("newuidmap", "newgidmap")):
        problems.append(
            Problem(
                "newuidmap and newgidmap are not installed: a container has only one user id",
                "install the package uidmap, and give this user a range in /etc/subuid and /etc/subgid",
                fatal=False,
            )
        )
    return problems


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
