"""The program that makes one layer of verified .debs: a process of its own, see `builder`.

Its argument is a JSON file with the job; it writes the layer to `layer.tar` beside it, and to standard output a JSON object: the layer,
`{"error": ...}`, or `{"errno": ..., "text": ...}` of a failed operation on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from barque.spi.errors import BarqueError, ResourceExhausted, Unavailable
from barque_image_deb.apt import Archive
from barque_image_deb.cache import CachedLayer
from barque_image_deb.debfile import Control, damage_named, read_control, spool_data
from barque_image_deb.layer import write_layer
from barque_image_deb.postinst import complete, shell
from barque_image_deb.tree import Tree, read_data_tar

__all__ = ["build_layer", "main"]

_CHUNK = 1 << 20
_MOST_MEMORY = 3 << 30  # of address space: four decompressors, and a tree of two million files


def main(argument: str) -> None:
    """The process's entry point. It ends at once when standard input ends: then nobody waits for the layer any more."""
    threading.Thread(target=_exit_with_daemon, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    json.dump(_answer(Path(argument)), sys.stdout)


def _answer(job_file: Path) -> Mapping[str, Any]:
    job = json.loads(job_file.read_bytes())
    archives = [Archive(*item) for item in job["archives"]]
    try:
        layer = build_layer(archives, Path(job["debs"]), job_file.parent, job["limit"])
    except BarqueError as error:
        return {"error": error.to_wire()}
    except MemoryError:
        return {"error": ResourceExhausted("the packages need too much memory to unpack").to_wire()}
    except OSError as error:
        return {"errno": error.errno, "text": str(error)}
    return {"digest": layer.digest, "size": layer.size, "created": layer.created, "shell": layer.shell}


def _exit_with_daemon() -> None:
    os.read(0, 1)
    os._exit(1)


def build_layer(archives: Iterable[Archive], debs: Path, work: Path, limit: int) -> CachedLayer:
    """Make the layer of `archives`, found in the directory `debs`, as `layer.tar` in the directory `work`.

    At most `limit` bytes a package. Decompression runs on several threads: liblzma and libzstd let go of the interpreter.
    """
    ordered = sorted(archives, key=lambda archive: archive.file)

    def unpack(archive: Archive) -> tuple[Control, Path]:
        path = debs / archive.file
        _verify(path, archive)
        spool = work / f"{archive.file}.data"
        spool_data(path, spool, limit)
        return read_control(path), spool

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "deb-unpack") as pool:
        unpacked = list(pool.map(unpack, ordered))
    tree, files, newest = _merge(unpacked)
    complete(tree, [control for control, _ in unpacked], files)
    target = work / "layer.tar"
    written = write_layer(tree.finish(newest), target)
    for _, spool in unpacked:
        spool.unlink()
    return CachedLayer(target, written.digest, written.size, newest, shell(tree))


def _merge(unpacked: list[tuple[Control, Path]]) -> tuple[Tree, dict[str, list[str]], int]:
    tree = Tree()
    for control, _ in unpacked:
        for name in _names(control.fields.get("replaces", "")):
            tree.allow(control.package, name)
    files: dict[str, list[str]] = {}
    newest = 0
    for control, spool in unpacked:
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


def _verify(path: Path, archive: Archive) -> None:
    """apt has verified the file when it came; this finds what the disk did to it since."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
    except FileNotFoundError:
        raise Unavailable(f"apt did not leave {archive.file}", hint="pull again") from None
    if digest.hexdigest() != archive.sha256:
        path.unlink(missing_ok=True)
        raise Unavailable(f"{archive.file} is damaged on disk and was removed", hint="pull again")
