"""The root file system of the runtime kit: a few programs of `barque.testing.static_init`, no image, no shell."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.testing.static_init import Step, copy, elf, exit_with, pause

__all__ = ["FOREVER", "add_program", "program_bytes", "static_rootfs"]

FOREVER = "pause"
"""A program that is still there when the test looks."""

_DIRECTORIES = ("bin", "dev", "etc", "mnt", "proc", "sys", "tmp")
_PROGRAMS: dict[str, tuple[Step, ...]] = {
    "true": (exit_with(0),),
    "cat": (copy(0, 1), exit_with(0)),
    FOREVER: (pause(),),
}


@contextmanager
def static_rootfs() -> Iterator[Path]:
    """A root file system with /bin/true, /bin/cat and /bin/pause, and files that cannot be executed: /bin/plain,
    /bin/garbage. It is where every user may go: root of a user namespace is one."""
    top = Path(tempfile.mkdtemp(prefix="barque-kit-"))
    try:
        top.chmod(0o755)
        root = top / "rootfs"
        for directory in _DIRECTORIES:
            (root / directory).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        for name, steps in _PROGRAMS.items():
            _install(root / "bin" / name, elf(*steps))
        (root / "bin/plain").write_text("not executable\n")
        _install(root / "bin/garbage", b"\0not a program")
        yield root
    finally:
        shutil.rmtree(top)


def add_program(root: Path, *steps: Step) -> str:
    """Put a program of `steps` into the root file system; its path there."""
    content = program_bytes(*steps)
    path = f"/bin/{hashlib.sha256(content).hexdigest()[:16]}"
    if not os.path.exists(f"{root}{path}"):
        _install(Path(f"{root}{path}"), content)
    return path


def program_bytes(*steps: Step) -> bytes:
    """An executable; it ends with 0 after its last step."""
    return elf(*steps)


def _install(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)
