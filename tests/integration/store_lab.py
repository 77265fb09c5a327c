"""A whole engine in the test's process, on roots of its own, and a registry beside it that can be made to fail."""

from __future__ import annotations

import random
from pathlib import Path

from barque.engine.daemon import build_engine
from barque.engine.images.pulling import host_platform
from barque.profiles.loading import parse_profile
from barque.spi.frontend import ContainerConfig
from barque.testing.layers import LayerTar

PROFILE = """
[runtime]
default = "native"
[runtime.native]
[network]
default = "none"
[network.none]
[storage]
default = "overlay"
[storage.overlay]
worker_idle_seconds = 0.5
[image]
default = "registry"
[image.registry]
[image.docker-archive]
[log]
default = "json-file"
[log.json-file]
[frontend]
default = "docker"
[frontend.docker]
"""


class StoreLab:
    """`engine` with a few shorthands. `images`: lines of the profile's table `[images]`."""

    def __init__(self, base: Path, registry, images: str = "") -> None:
        self.base, self.registry = base, registry
        self.root = base / "root"
        self.images = images
        self.start()

    def start(self):
        """Build the engine, as a daemon does before its first answer."""
        profile = parse_profile("test", PROFILE + f"[images]\n{self.images}\n", "test")
        self.engine = build_engine(self.root, self.base / "run", profile)
        self.core = self.engine._core
        self.collector = self.engine._collector

    def close(self):
        """End the engine, as a daemon does."""
        self.engine.stop()
        self.engine.close()
        self.core.drivers.image().loaded.instance.close()

    def add(self, repository, *layers, tag="1", **changes):
        """Put an image of these layer tars into the registry; its reference."""
        tars = [layer if isinstance(layer, bytes) else layer.content() for layer in layers]
        arch = host_platform().architecture
        self.registry.add_image(repository, tag, tars, architecture=arch, **changes)
        return f"{self.registry.address}/{repository}:{tag}"

    def pull(self, reference, progress=lambda _: None, cancelled=lambda: False):
        """Pull; the image."""
        return self.engine.image_pull(reference, None, None, progress, cancelled)[0]

    def create(self, image, name=None):
        """A container that is not started."""
        return self.engine.container_create(name, ContainerConfig(image=image, command=("/x",)))

    def layers(self):
        return {f"sha256:{path.name}" for path in (self.root / "storage/overlay/layers").iterdir()}

    def blobs(self):
        return {f"sha256:{path.name}" for path in (self.root / "content/blobs/sha256").iterdir()}

    def layer_file(self, diff_id, path):
        """A file of an unpacked layer."""
        return self.root / "storage/overlay/layers" / diff_id[7:] / "fs" / path

    def blob(self, digest):
        return self.root / "content/blobs/sha256" / digest[7:]


def layer(seed, size=5000):
    """A small layer that differs from those of other seeds."""
    data = random.Random(seed).randbytes(size)
    return LayerTar().directory("etc").file(f"etc/file-{seed}", data)


def flip(path):
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
