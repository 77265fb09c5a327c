"""A tree on the host that nothing may touch: what a hostile image, archive or container tries to reach.

canary = Canary.plant(tmp_path / "canary")
...the attack, aimed at `canary.root`...
canary.check()
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Canary"]

_SECRET = b"canary: nobody writes here\n"


@dataclass(frozen=True)
class Canary:
    """The tree below `root`, and how it was when it was planted."""

    root: Path
    planted: dict[str, str]

    @classmethod
    def plant(cls, root: Path) -> Canary:
        """Make the tree: files that attacks go for, of several modes, directories and links."""
        for directory in ("etc", "bin", "empty", "sealed"):
            (root / directory).mkdir(parents=True)
        for name, mode in (
            ("etc/passwd", 0o644),
            ("etc/shadow", 0o600),
            ("bin/tool", 0o755),
            ("sealed/note", 0o400),
        ):
            (root / name).write_bytes(_SECRET)
            (root / name).chmod(mode)
        (root / "etc/link").symlink_to("passwd")
        (root / "sealed").chmod(0o500)
        return cls(root, _observe(root))

    def changes(self) -> list[str]:
        """What is not as it was planted, a line each."""
        now = _observe(self.root)
        return [
            f"{path}: was {self.planted.get(path, 'absent')}, is {now.get(path, 'absent')}"
            for path in sorted(self.planted.keys() | now.keys())
            if self.planted.get(path) != now.get(path)
        ]

    def check(self) -> None:
        """AssertionError with the changes, if any."""
        changes = self.changes()
        assert not changes, "the host was touched:\n" + "\n".join(changes)


def _observe(root: Path) -> dict[str, str]:
    """Path -> type, mode, owner, links, size, times and content. The change time gives away a chmod that was undone."""
    found = {}
    for directory, _, files in os.walk(root):
        for path in [Path(directory), *(Path(directory, name) for name in files)]:
            found[str(path.relative_to(root))] = _describe(path)
    return found


def _describe(path: Path) -> str:
    status = path.lstat()
    facts = [stat.filemode(status.st_mode), f"{status.st_uid}:{status.st_gid}", f"{status.st_nlink} links"]
    facts += [f"{status.st_size} bytes", f"mtime {status.st_mtime_ns}", f"ctime {status.st_ctime_ns}"]
    if path.is_symlink():
        facts.append(f"-> {path.readlink()}")
    elif path.is_file():
        facts.append(hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    return ", ".join(facts)
