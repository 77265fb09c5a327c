"""Cgroup directories below a test's own parent: other daemons on this host have theirs."""

from pathlib import Path


def cgroups_below(parent):
    """The containers' directories, in every hierarchy."""
    return [p for p in Path("/sys/fs/cgroup").glob(f"*{parent}/*") if p.is_dir()]


def remove_cgroups(parent):
    """The parent itself, which the engine leaves."""
    for path in Path("/sys/fs/cgroup").glob(f"*{parent}"):
        path.rmdir()
