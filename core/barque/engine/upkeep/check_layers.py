"""Every unpacked layer, compared with its tar; damaged and missing ones unpacked anew."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.images.rows import StoredImage
from barque.engine.records import ContainerRecord
from barque.spi.common import Progress, ProgressSink
from barque.spi.content import Finding
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, NotImplemented
from barque.spi.storage import LayerApply

__all__ = ["LayerChecker"]

_SHOWN = 5


class LayerChecker:
    """The layers of `stored` images. `bad_blobs` are what was found before: a layer whose tar is lost cannot be compared."""

    def __init__(
        self,
        core: Core,
        containers: ContainerService,
        stored: list[StoredImage],
        bad_blobs: list[Finding],
        progress: ProgressSink,
    ) -> None:
        self._core, self._containers, self._progress = core, containers, progress
        self._bad = {finding.subject for finding in bad_blobs}
        self._images: defaultdict[str, list[str]] = defaultdict(list)
        self._sources: defaultdict[str, dict[str, LayerApply]] = defaultdict(dict)
        for image in stored:
            types = self._media_types(image)
            for layer in image.layers:
                self._images[layer.diff_id].append(image.id)
                if layer.digest not in self._bad:
                    blob = str(core.content.path(layer.digest))
                    self._sources[layer.diff_id][layer.digest] = LayerApply(
                        layer.diff_id, blob, types.get(layer.digest, "")
                    )

    def check(self, *, repair: bool) -> list[Finding]:
        """What is wrong with layers, put right where `repair` says so and no running container is in the way."""
        found = []
        present = set(self._core.drivers.storage().list().layers)
        for number, diff_id in enumerate(sorted(self._images), 1):
            self._say(diff_id, "Verifying layer", number, len(self._images))
            problem = self._problem(diff_id, diff_id in present)
            if problem:
                found.append(self._finding(diff_id, problem, repair=repair))
        return found

    def _problem(self, diff_id: str, present: bool) -> str:
        if not present:
            return "it is missing"
        if not self._sources[diff_id]:
            self._say(diff_id, "Not compared: its blob is missing or damaged")
        for source in self._sources[diff_id].values():  # an image may name a blob of something else
            try:
                return _told(self._core.drivers.storage().verify(source))
            except NotImplemented:
                self._say(diff_id, "Not compared: the storage driver cannot verify layers")
                return ""
            except NotFound:
                return "it is missing"
            except InvalidArgument as error:
                self._say(diff_id, f"Not compared: {error.message}")
        return ""

    def _finding(self, diff_id: str, problem: str, *, repair: bool) -> Finding:
        images = tuple(dict.fromkeys(self._images[diff_id]))
        if not repair:
            return Finding("layer", diff_id, problem, images)
        with ExitStack() as held:
            running = self._running(diff_id, held)
            if running:
                action = f"stop container {running[:12]}, which runs with it, and repair again"
                return Finding("layer", diff_id, problem, images, action=action)
            return self._repaired(diff_id, problem, images)

    def _running(self, diff_id: str, held: ExitStack) -> str:
        """The id of a running container that is made of the layer, or "": then those that are stopped do not start while `held` is.

        Of any image there is now, not only of those that are checked: a pull that came later shares the layer as it was found.
        """
        seen: set[str] = set()
        while waiting := [record for record in self._made_of(diff_id) if record.id not in seen]:
            for record in waiting:  # one may have been made while we waited for another's lock
                seen.add(record.id)
                held.enter_context(record.lock)
                if record.running:
                    return record.id
        return ""

    def _made_of(self, diff_id: str) -> list[ContainerRecord]:
        images = self._core.images.stored(retired=True)
        users = {image.id for image in images if diff_id in image.diff_ids}
        return [record for record in self._containers.records() if record.stored.image_id in users]

    def _repaired(self, diff_id: str, problem: str, images: tuple[str, ...]) -> Finding:
        action = "pull or load the image again"
        storage = self._core.drivers.storage()
        for source in self._sources[diff_id].values():
            self._say(diff_id, "Extracting")
            try:
                storage.remove_layer(diff_id)
                storage.apply(source)
            except BarqueError as error:
                action = f"it cannot be unpacked again: {error.message}"
            else:
                return Finding("layer", diff_id, problem, images, True, "unpacked again from its blob")
        return Finding("layer", diff_id, problem, images, action=action)

    def _media_types(self, image: StoredImage) -> dict[str, str]:
        """By digest, from the manifest; none when that is damaged: the driver looks at the blob's first bytes then."""
        try:
            layers = json.loads(self._core.content.read(image.manifest_digest))["layers"]
            return {str(layer["digest"]): str(layer["mediaType"]) for layer in layers}
        except (BarqueError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def _say(self, diff_id: str, status: str, current: int = 0, total: int = 0) -> None:
        self._progress(Progress(diff_id[7:19], status, current, total))


def _told(differences: tuple[str, ...]) -> str:
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return f"{'; '.join(differences[:_SHOWN])}{more}"
