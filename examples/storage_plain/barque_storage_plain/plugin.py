"""Storage driver `plain`: each snapshot is a copy that cp(1) makes of what its layers show together."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass

from barque.spi import Mount, Probe, Problem, hookimpl
from barque.spi.errors import Internal, ResourceExhausted
from barque.spi.storage import LayerApply, SnapshotPrepare, StorageCapability, StorageList, Usage
from barque.spi.trees.layerstore import LayerStore, Unpacking
from barque.spi.trees.merging import Merger
from barque.spi.trees.places import Places
from barque.spi.trees.whiteouts import NAMES


@dataclass(frozen=True, slots=True)
class PlainConfig:
    """Options of the plain storage driver.

    cp: the program that copies: GNU's, which shares blocks where the file system can.
    """

    cp: str = "/bin/cp"


class PlainStorage:
    """Layers are unpacked by Barque's tools; layers that are used together are merged once, below the top one of them."""

    Config = PlainConfig
    capabilities = frozenset({StorageCapability.VERIFY})

    def __init__(self, name: str, config: PlainConfig, root: str) -> None:
        self.name, self.config, self.root = name, config, root
        self._places = Places(root)
        self._layers = LayerStore(self._places, Unpacking(whiteouts=NAMES))
        self._merger = Merger(self._places, self._layers, workers=1, idle_seconds=5.0)

    @hookimpl
    def storage_probe(self) -> Probe:
        if os.access(self.config.cp, os.X_OK):
            return Probe(facts={"driver": "plain", "cp": self.config.cp})
        return Probe((Problem(f"there is no {self.config.cp}", "install coreutils, or set the option cp"),))

    @hookimpl
    def storage_apply(self, request: LayerApply) -> Usage:
        return self._layers.apply(request)

    @hookimpl
    def storage_verify(self, request: LayerApply) -> tuple[str, ...]:
        return self._layers.verify(request)

    @hookimpl
    def storage_list(self) -> StorageList:
        self._places.sweep()
        return StorageList(self._layers.list(), self._places.keys())

    @hookimpl
    def storage_prepare(self, request: SnapshotPrepare) -> None:
        self._places.snapshot(request.key)  # is it a key?
        tree = self._merged(request.layers) if request.layers else ""
        with self._places.scratch() as scratch:
            if tree:
                self._copy(tree, os.path.join(scratch, "fs"))
            else:
                self._merger.merge((), scratch)
            os.mkdir(os.path.join(scratch, "made"))  # what changes from now on is the container's
            self._places.publish_snapshot(scratch, request.key)

    @hookimpl
    def storage_mounts(self, key: str) -> tuple[Mount, ...]:
        return (Mount("bind", os.path.join(self._places.existing_snapshot(key), "fs")),)

    @hookimpl
    def storage_usage(self, key: str) -> Usage:
        return self._layers.usage(key) if ":" in key else _written(self._places.existing_snapshot(key))

    @hookimpl
    def storage_remove(self, key: str) -> None:
        self._places.remove_snapshot(key)

    @hookimpl
    def storage_remove_layer(self, diff_id: str) -> None:
        self._layers.remove(diff_id)

    def _merged(self, layers: tuple[str, ...]) -> str:
        """The tree of these layers, made once. It is in the directory of the top one, and goes with it."""
        files = [self._layers.files(layer) for layer in layers]
        chain = hashlib.sha256(" ".join(layers).encode()).hexdigest()
        tree = os.path.join(os.path.dirname(files[-1]), f"tree-{chain}")
        if not os.path.isdir(tree):
            with self._places.scratch() as scratch:
                self._merger.merge(layers, scratch)
                with suppress(FileExistsError):  # somebody was faster
                    os.rename(os.path.join(scratch, "fs"), tree)
        return tree

    def _copy(self, source: str, target: str) -> None:
        command = [self.config.cp, "--archive", "--reflink=auto", source, target]
        done = subprocess.run(command, env={"LC_ALL": "C"}, capture_output=True, text=True, check=False)
        if done.returncode:
            error = ResourceExhausted if "No space left" in done.stderr else Internal
            raise error(f"{self.config.cp}: {done.stderr.strip()[-500:]}")


def _written(snapshot: str) -> Usage:
    """What was changed since the snapshot was made: the kernel sets an inode's ctime, and nobody else can."""
    since, size, inodes = os.stat(os.path.join(snapshot, "made")).st_ctime_ns, 0, 0
    for _path, directories, files, fd in os.fwalk(os.path.join(snapshot, "fs")):
        for name in (*directories, *files):
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if status.st_ctime_ns > since:
                    inodes += 1
                    size += status.st_blocks * 512 * stat.S_ISREG(status.st_mode)
    return Usage(size, inodes)
