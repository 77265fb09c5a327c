"""From verified .debs to one layer."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from barque.spi.errors import Unavailable
from barque_image_deb.apt import Archive
from barque_image_deb.cache import CachedLayer
from barque_image_deb.debfile import Control, damage_named, read_control, spool_data
from barque_image_deb.layer import write_layer
from barque_image_deb.postinst import complete, shell
from barque_image_deb.tree import Tree, read_data_tar

__all__ = ["build_layer", "empty"]

_CHUNK = 1 << 20


def build_layer(
    archives: Iterable[Archive], debs: Path, work: Path, limit: int, check: Callable[[], None]
) -> CachedLayer:
    """Make the layer of `archives`, found in the directory `debs`, as a file in the empty directory `work`.

    At most `limit` bytes a package; `check` may raise to stop. Decompression runs on several threads:
    liblzma and libzstd let go of the interpreter.
    """
    ordered = sorted(archives, key=lambda archive: archive.file)

    def unpack(archive: Archive) -> tuple[Control, Path]:
        path = debs / archive.file
        _verify(path, archive, check)
        spool = work / f"{archive.file}.data"
        spool_data(path, spool, limit, check)
        return read_control(path), spool

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "deb-unpack") as pool:
        unpacked = list(pool.map(unpack, ordered))
    tree, files, newest = _merge(unpacked, check)
    complete(tree, [control for control, _ in unpacked], files)
    target = work / "layer.tar"
    written = write_layer(tree.finish(newest), target, check)
    for _, spool in unpacked:
        spool.unlink()
    return CachedLayer(target, written.digest, written.size, newest, shell(tree))


def empty(directory: Path) -> Path:
    """`directory`, made, with nothing in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _merge(
    unpacked: list[tuple[Control, Path]], check: Callable[[], None]
) -> tuple[Tree, dict[str, list[str]], int]:
    tree = Tree()
    for control, _ in unpacked:
        for name in _names(control.fields.get("replaces", "")):
            tree.allow(control.package, name)
    files: dict[str, list[str]] = {}
    newest = 0
    for control, spool in unpacked:
        check()
        paths = files.setdefault(control.package, [])
        with damage_named(control.package):
            for entry in read_data_tar(spool, control.package):
                tree.add(entry)
                newest = max(newest, entry.mtime)
                if entry.path:
                    paths.append(entry.path)
    return tree, files, newest


def _names(relation: str) -> list[str]:
    """Package names of a relationship field (Debian Policy 7.1)."""
    found = (re.match(r"\s*([a-z0-9][a-z0-9+.-]+)", part) for part in re.split(r"[,|]", relation))
    return [match[1] for match in found if match]


def _verify(path: Path, archive: Archive, check: Callable[[], None]) -> None:
    """apt has verified the file when it came; this finds what the disk did to it since."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                check()
                digest.update(data)
    except FileNotFoundError:
        raise Unavailable(f"apt did not leave {archive.file}", hint="pull again") from None
    if digest.hexdigest() != archive.sha256:
        path.unlink(missing_ok=True)
        raise Unavailable(f"{archive.file} is damaged on disk and was removed", hint="pull again")
