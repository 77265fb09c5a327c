"""Disk images of the virtual machine: a directory as an ext4 file system, the environment, the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# For development on the host only, and half of the environment's size.
NOT_IN_THE_MACHINE = (
    "mypy", "mypyc", "*__mypyc.*", "ruff", "pip", "pip-*", "setuptools", "grimp", "activate*", "include",
)  # fmt: skip
ARGUMENTS = ".vm-arguments"


def make_image(directory: Path, image: Path, spare: int) -> None:
    """An ext4 file system with what is in `directory` and about `spare` bytes free. Needs no mount and no root."""
    used = sum(len(names) * 4096 + _size(folder, names) for folder, _, names in os.walk(directory))
    with image.open("wb") as file:
        file.truncate(used + used // 8 + spare)
    subprocess.run(
        ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0", "-N", "65536",
         "-d", str(directory), str(image)],
        check=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip


def _size(folder: str, names: Sequence[str]) -> int:
    return sum(os.lstat(os.path.join(folder, name)).st_size for name in names)


def environment_key(environment: Path) -> str:
    """Names what is installed: the RECORD of every distribution."""
    digest = hashlib.sha256(repr(NOT_IN_THE_MACHINE).encode())
    for record in sorted(environment.glob("lib/python3*/site-packages/*.dist-info/RECORD")):
        digest.update(str(record).encode() + record.read_bytes())
    return digest.hexdigest()[:16]


def make_environment(environment: Path, image: Path) -> None:
    """The virtual environment, for the path it has here."""
    with tempfile.TemporaryDirectory(dir=image.parent, prefix="build-") as name:
        tree = Path(name, "tree")
        shutil.copytree(environment, tree, symlinks=True, ignore=shutil.ignore_patterns(*NOT_IN_THE_MACHINE))
        made = Path(name, "image")
        make_image(tree, made, spare=16 << 20)
        made.rename(image)


def make_checkout(checkout: Path, image: Path, python: str, arguments: Sequence[str]) -> None:
    """The checkout as it is now, compiled (the machine is slow), and the arguments of pytest."""
    tree = image.parent / "checkout"
    shutil.copytree(
        checkout,
        tree,
        symlinks=True,
        ignore=lambda _, names: [each for each in names if _left_out(each)],
    )
    (tree / ".venv").mkdir()
    (tree / ARGUMENTS).write_text(json.dumps(list(arguments)))
    subprocess.run(
        [python, "-m", "compileall", "-q", "-j", "2", "-s", str(tree), "-p", str(checkout), "core", "plugins"],
        cwd=tree, check=False,  # what does not compile, the tests will say
    )  # fmt: skip
    make_image(tree, image, spare=64 << 20)
    shutil.rmtree(tree)


def _left_out(name: str) -> bool:
    return (name.startswith(".") and name not in (".ci", ".hypothesis")) or name in ("dist", "build")
