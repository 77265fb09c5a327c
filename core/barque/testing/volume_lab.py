"""What the tests of the volume kit share: hostile contents, what is mounted, calls to kill a driver in."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from barque.spi.volume import VolumeSpec
from barque.testing.storage_lab import census

__all__ = ["churn_volumes", "fill", "hostile", "mount_all", "mounts_below", "remove_volume", "visible"]


def mounts_below(root: str) -> list[str]:
    """Mount points on `root` and below it."""
    top = os.path.realpath(root)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        points = [line.split(" ")[4] for line in lines]
    return [point for point in points if point == top or point.startswith(f"{top}/")]


def visible(root: str) -> list[str]:
    """Every path below a driver's root but for its own, whose names begin with a dot."""
    return [path for path in census(root) if "/." not in path.removeprefix(root)]


def fill(directory: str, files: int = 200) -> None:
    """Ordinary content: files in some directories."""
    for number in range(files):
        folder = Path(directory, f"d{number % 7}")
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(b"x" * 1000)


def hostile(directory: str, canary: Path) -> None:
    """What a container may leave in a volume to harm who removes or measures it."""
    os.symlink(canary, os.path.join(directory, "link"))
    os.symlink("/", os.path.join(directory, "root"))
    os.symlink("loop", os.path.join(directory, "loop"))
    os.mkfifo(os.path.join(directory, "fifo"))
    Path(directory, "closed").mkdir(mode=0)
    Path(directory, "twice").write_bytes(b"y" * 50_000)
    os.link(os.path.join(directory, "twice"), os.path.join(directory, "again"))
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b" ", b"n" * 255):
        with open(os.path.join(os.fsencode(directory), name), "wb") as file:
            file.write(b"z")
    with open(os.path.join(directory, "sparse"), "wb") as file:
        file.truncate(1 << 40)
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for _level in range(1500):  # no path reaches the end of it
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def churn_volumes(driver: Any) -> None:
    """Make volumes, and remove every other one, without end."""
    for number in itertools.count():
        spec = VolumeSpec(f"v{number}")
        driver.volume_create(spec)
        if number % 2:
            driver.volume_remove(spec)


def remove_volume(driver: Any, spec: VolumeSpec) -> None:
    """Remove one volume."""
    driver.volume_remove(spec)


def mount_all(driver: Any, specs: tuple[VolumeSpec, ...]) -> None:
    """Mount them, for a user each, over and over."""
    while True:
        for spec in specs:
            driver.volume_mount(spec, f"user-of-{spec.name}")
