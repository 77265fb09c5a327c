"""How large things are, from the engine's account of its disk and the layers of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from barque.spi.content import DiskUsage, Image
from barque.spi.frontend import Engine

__all__ = ["shared_bytes", "used_by", "written_bytes"]


def written_bytes(engine: Engine, usage: DiskUsage | None = None) -> dict[str, int]:
    """What each container has written, by its id. Walks the engine's disk, unless `usage` is at hand."""
    written: Counter[str] = Counter()
    for item in (usage or engine.disk_usage()).items:
        if item.kind == "container":
            written[item.owner] += item.bytes
    return dict(written)


def shared_bytes(images: Iterable[Image]) -> dict[str, int]:
    """By image id, the bytes in layers that another image has, too."""
    known = tuple(images)
    users = Counter(diff_id for image in known for diff_id in set(image.diff_ids))
    return {
        image.id: sum(
            size
            for diff_id, size in zip(image.diff_ids, image.layer_sizes, strict=False)
            if users[diff_id] > 1
        )
        for image in known
    }


def used_by(engine: Engine) -> Counter[str]:
    """The number of containers of each image, running or not."""
    return Counter(container.image_id for container in engine.container_list())
