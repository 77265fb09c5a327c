"""Is everything in the store what it should be? And if not: put right what can be, mark what cannot (row R24).

Looked at, in this order: the database, records of images, blobs (each hashed again), layers (each compared with its tar),
containers, and what nobody needs. The check holds a lease on all that images need: nothing is taken away under its eyes,
and what is repaired is repaired while pulls go on and containers run.
"""

from __future__ import annotations

from collections import defaultdict

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.images.rebuild import rebuild
from barque.engine.images.rows import StoredImage
from barque.engine.upkeep.check_blobs import check_blobs
from barque.engine.upkeep.check_layers import LayerChecker
from barque.spi.common import Progress, ProgressSink
from barque.spi.content import Finding
from barque.spi.errors import BarqueError, NotFound

__all__ = ["Checker"]


class Checker:
    """Checks one engine's store. Thread-safe."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers

    def check(self, *, repair: bool, progress: ProgressSink) -> tuple[Finding, ...]:
        """See `ContentOperations.content_check`."""
        images = self._core.images
        findings = self._database(progress) + self._records(repair, progress)
        stored = images.stored(retired=True)
        with images.leased({name for image in stored for name in image.needs}):
            bad_blobs = check_blobs(self._core, stored, repair, progress)
            layers = LayerChecker(self._core, self._containers, stored, bad_blobs, progress)
            bad_layers = layers.check(repair=repair)
            if repair:
                self._mark(stored, [*bad_blobs, *bad_layers])
        findings += [*bad_blobs, *bad_layers, *self._containers_of(stored, progress)]
        findings += self._orphans(repair, progress)
        self._core.puller.behind()
        return tuple(findings)

    def _database(self, progress: ProgressSink) -> list[Finding]:
        progress(Progress("database", "Verifying"))
        return [
            Finding(
                "database",
                "barque.db",
                problem,
                action="stop the daemon and restore a copy, or recover it with sqlite3's .recover",
            )
            for problem in self._core.database.problems()
        ]

    def _records(self, repair: bool, progress: ProgressSink) -> list[Finding]:
        """Rows of images that cannot be read; while there is one nothing is freed."""
        images = self._core.images
        found = []
        for image_id, document in tuple(images.unreadable.items()):
            progress(Progress(image_id[7:19], "Verifying record"))
            problem = "its record in the database cannot be read"
            users = [id for id, used, _ in self._containers.image_users() if used == image_id]
            if not repair:
                found.append(Finding("image", image_id, problem, (image_id,)))
                continue
            image = rebuild(self._core, image_id, document)
            if image is not None:
                images.adopt(image)
                action = "rebuilt from its manifest and config"
            elif users:
                action = f"remove container {users[0][:12]}, which is made of it, and check again"
            else:
                images.drop_unreadable(image_id)
                action = "the record was removed: pull the image again"
            found.append(
                Finding("image", image_id, problem, (image_id,), not action.startswith("remove"), action)
            )
        return found

    def _mark(self, stored: list[StoredImage], findings: list[Finding]) -> None:
        """Write into each image's record what is wrong with it and could not be put right, or that nothing is."""
        wrong: defaultdict[str, list[str]] = defaultdict(list)
        for finding in findings:
            if finding.kind == "blob" or not finding.repaired:
                for image_id in finding.images:
                    wrong[image_id].append(f"{finding.kind} {finding.subject}: {finding.problem}")
        for image in stored:
            damaged = "; ".join(wrong.get(image.id, ()))
            if damaged != image.damaged:
                self._core.images.replace(image, damaged=damaged)

    def _containers_of(self, stored: list[StoredImage], progress: ProgressSink) -> list[Finding]:
        """Containers that cannot start (again): their image, snapshot or record is lost."""
        progress(Progress("containers", "Verifying"))
        known = {image.id for image in stored} | {
            image.id for image in self._core.images.stored(retired=True)
        }
        found = []
        for record in self._containers.records():
            problem = self._container_problem(record.id, record.stored.image_id, record.stored.storage, known)
            with record.lock:
                gone = record.removed
            if problem and not gone:
                action = f"remove it: docker rm -f {record.id[:12]}"
                found.append(
                    Finding("container", record.id, problem, (record.stored.image_id,), action=action)
                )
        return found

    def _container_problem(self, id: str, image_id: str, storage: str, known: set[str]) -> str:
        if not image_id:
            return "its record in the database is damaged"
        try:
            self._core.drivers.storage(storage).mounts(id)
        except NotFound:
            return "its writable layer is missing"
        except BarqueError as error:
            return f"its writable layer cannot be mounted: {error.message}"
        return "" if image_id in known else f"its image {image_id} is missing"

    def _orphans(self, repair: bool, progress: ProgressSink) -> list[Finding]:
        """Layers and blobs that no image, container or operation needs."""
        progress(Progress("leftovers", "Verifying"))
        images = self._core.images
        if images.unreadable:
            return []  # they may be what a record that cannot be read needs
        layers, blobs = images.garbage.find()
        freed = images.garbage_collect() if repair else None
        gone = {*freed.layers, *freed.blobs} if freed else set()
        return [
            Finding(
                kind,
                subject,
                "nothing needs it",
                repaired=subject in gone,
                action="removed" if subject in gone else "",
            )
            for kind, subjects in (("layer", layers), ("blob", blobs))
            for subject in subjects
        ]
