"""Changes to a container's files, and what dockerd 20.10.24 (overlay2) answered to `docker diff` after each: it was asked.

Each script runs in a directory of its own, whose name stands before the paths told; that the directory itself is told as
changed goes without saying where anything is.
"""

from __future__ import annotations

from pathlib import Path

from barque.spi.storage import LayerApply
from barque.testing.layers import LayerTar

__all__ = ["CHANGES", "image"]

_TIME = 1_600_000_000

CHANGES = (
    ("echo a > new", "A/new"),
    ("echo a >> mod", "C/mod"),
    ("chmod 600 chm", "C/chm"),
    ("rm del", "D/del"),
    ("rm -r rm", "D/rm"),
    ("rm -r again; mkdir again; echo c > again/c", "C/again D/again/a D/again/b A/again/c"),
    ("rm -r again; mkdir again; echo c > again/a", "C/again C/again/a D/again/b"),
    ("mv ren ren2", "D/ren A/ren2"),
    ("rm sym; echo a > sym", "C/sym"),
    ("rm sym; mkdir sym; echo a > sym/f", "C/sym A/sym/f"),
    ("ln mod hard", "A/hard"),
    ("touch touch", "C/touch"),
    ("mkdir -p n/e/s/t; echo a > n/e/s/t/file", "A/n A/n/e A/n/e/s A/n/e/s/t A/n/e/s/t/file"),
    ("mkdir topnew", "A/topnew"),
    ("cp -a dir dir2; rm -r dir", "D/dir A/dir2 A/dir2/sub A/dir2/sub/f"),
    ("chmod 700 emptydir", "C/emptydir"),
    ("chown 5:5 chown", "C/chown"),
    ("echo a > tmp; rm tmp", ""),
    ("rm -r rm; echo x > rm", "C/rm"),
    ("rm del; mkdir del; echo x > del/y", "C/del A/del/y"),
    ("mkfifo fifo", "A/fifo"),
    ("echo b > same", "A/same"),
    ("echo x > l2/z", "C/l2 C/l2/z"),
    (f"touch -d @{_TIME} mod", ""),
    ("ln -s nowhere dangling; ln -sfn other sym2", "A/dangling C/sym2"),
    ("", ""),
)


def image(directory: Path) -> tuple[LayerApply, LayerApply]:
    """The two layers the scripts change: `same` is deleted in the upper one, `l2` is only there."""
    low, high = LayerTar(), LayerTar()
    for number in range(len(CHANGES)):
        top = f"case{number}"
        for name in ("", "/dir", "/dir/sub", "/rm", "/rm/deep", "/again", "/emptydir"):
            low.directory(f"{top}{name}", mtime=_TIME)
        for name in (
            "mod", "chm", "del", "ren", "link", "touch", "same", "chown", "dir/sub/f", "rm/deep/x", "rm/y", "again/a", "again/b",
        ):  # fmt: skip
            low.file(f"{top}/{name}", b"hello\n", mtime=_TIME)
        low.symlink(f"{top}/sym", "mod", mtime=_TIME).symlink(f"{top}/sym2", "mod", mtime=_TIME)
        high.whiteout(f"{top}/same").directory(f"{top}/l2").file(f"{top}/l2/z", b"z\n")
    return low.store(directory), high.store(directory)
