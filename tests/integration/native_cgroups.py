"""Cgroup files as tests see them, on cgroup v1 and v2 alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from native_bundle import Box

ROOT = Path("/sys/fs/cgroup")
UNIFIED = (ROOT / "cgroup.controllers").exists()
only_v1 = pytest.mark.skipif(UNIFIED, reason="a field of cgroup v1")
only_v2 = pytest.mark.skipif(not UNIFIED, reason="needs cgroup v2 alone")


class CgroupBox(Box):
    """A box whose cgroup files can be read on both."""

    def file(self, controller: str, name: str, below: str = "box") -> Path:
        """A control file; `controller` is v1's hierarchy."""
        return (ROOT if UNIFIED else ROOT / controller) / f"{self.cgroup}/{below}".strip("/") / name

    def read(self, controller: str, v1: str, v2: str | None = None) -> str:
        """The text of a control file that has the name `v1` or `v2`, by default the same."""
        return self.file(controller, v2 or v1 if UNIFIED else v1).read_text().strip()

    def pids(self) -> set[int]:
        """Who is in the container's cgroup itself."""
        return set(map(int, self.file("freezer", "cgroup.procs").read_text().split()))

    def frozen(self) -> bool:
        """Whether the kernel has frozen it."""
        if UNIFIED:
            return "frozen 1" in self.file("", "cgroup.events").read_text()
        return self.file("freezer", "freezer.state").read_text().strip() == "FROZEN"

    def close(self) -> None:
        """Delete it, and see that no cgroup is left."""
        super().close()
        top = self.cgroup[1:]
        for directory in (ROOT / top, *ROOT.glob(f"*/{top}")):
            if directory.is_dir():
                assert [each.name for each in directory.iterdir() if each.is_dir()] == []
                directory.rmdir()


def disk() -> tuple[int, int]:
    """The numbers of a whole disk of this machine."""
    for device in sorted(Path("/sys/block").iterdir()):
        if (device / "device").exists() and device.name.startswith(("vd", "sd", "nvme", "xvd")):
            major, minor = (device / "dev").read_text().split(":")
            return int(major), int(minor)
    pytest.skip("no disk")


def has_file(controller: str, name: str) -> bool:
    """Whether a new cgroup has that control file."""
    directory = (ROOT if UNIFIED else ROOT / controller) / f"barque-test-look-{os.getpid()}"
    directory.mkdir()
    try:
        return (directory / name).exists()
    finally:
        directory.rmdir()
