"""Layers built before, by the packages they are made of; a cache only: everything here can be made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from barque_image_deb.apt import Archive

__all__ = ["CachedLayer", "LayerCache", "prune"]

# Raise when the same packages give another layer than before (postinst.py, tree.py, layer.py).
_FORMAT = 3


@dataclass(frozen=True, slots=True)
class CachedLayer:
    """A built layer: its tar, digest, size; the newest file time of its packages; the command for `Cmd`."""

    path: Path
    digest: str
    size: int
    created: int
    shell: str


class LayerCache:
    """`KEY.tar` and `KEY.json` in one directory. The description is written last, so what it names is complete."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def key(self, architecture: str, archives: Iterable[Archive]) -> str:
        """Depends on the packages' contents alone."""
        described = [_FORMAT, architecture, *sorted([archive.file, archive.sha256] for archive in archives)]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def get(self, key: str) -> CachedLayer | None:
        """The layer, marked as used now; None when there is none or it is damaged."""
        tar = self._directory / f"{key}.tar"
        try:
            facts = json.loads((self._directory / f"{key}.json").read_bytes())
            layer = CachedLayer(tar, facts["digest"], facts["size"], facts["created"], facts["shell"])
            if tar.stat().st_size != layer.size:
                return None
            os.utime(tar)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return layer

    def put(self, key: str, layer: CachedLayer) -> CachedLayer:
        """Take over the synced file `layer.path`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        tar = self._directory / f"{key}.tar"
        os.rename(layer.path, tar)
        facts = asdict(layer)
        del facts["path"]
        temporary = self._directory / f"{key}.json.tmp"
        temporary.write_text(json.dumps(facts))
        os.rename(temporary, self._directory / f"{key}.json")
        return CachedLayer(tar, layer.digest, layer.size, layer.created, layer.shell)


def prune(directories: Iterable[Path], limit: int, keep: frozenset[Path]) -> None:
    """Remove the files used longest ago until `limit` bytes are left; `keep` stays in any case."""
    files = sorted(_files(directories), key=lambda item: item[1].st_mtime, reverse=True)
    total = 0
    for path, status in files:
        total += status.st_size
        if total > limit and path not in keep:
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def _files(directories: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for directory in directories:
        if not directory.is_dir():
            continue
        for path in directory.iterdir():
            with suppress(FileNotFoundError):
                if path.suffix in (".deb", ".tar"):
                    yield path, path.stat()
