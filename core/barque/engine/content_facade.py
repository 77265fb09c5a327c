"""The engine's calls about images and files (`barque.spi.content.ContentOperations`), each given to its service."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.files.trees import ContainerTrees
from barque.engine.images.archives import Archives
from barque.engine.images.committing import Committer
from barque.engine.images.pushing import Pusher
from barque.engine.images.registries import Registries
from barque.engine.upkeep.accounting import Accountant
from barque.engine.upkeep.checking import Checker
from barque.engine.upkeep.collecting import Collector
from barque.spi.common import Platform, ProgressSink
from barque.spi.content import (
    CommitRequest,
    DiskUsage,
    Finding,
    Image,
    ImportRequest,
    PathStat,
    Pruned,
    Pushed,
    Removed,
)
from barque.spi.image import Credentials, Distribution, ImageSearch, SearchResult
from barque.spi.storage import Change

__all__ = ["ContentFacade"]


class ContentFacade:
    """See `barque.spi.content.ContentOperations` for the methods."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core = core
        self._containers = containers
        self._pusher = Pusher(core)
        self._registries = Registries(core)
        self._archives = Archives(core)
        self._committer = Committer(core)
        self._trees = ContainerTrees(core, containers.volumes)
        self._accountant = Accountant(core, containers)
        self._checker = Checker(core, containers)
        self._collector = Collector(core)
        core.images.users = containers.image_users
        core.puller.behind = core.images.freed = self._collector.nudge

    def image_pull(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> tuple[Image, bool]:
        return self._core.puller.pull(reference, platform, credentials, progress, cancelled)

    def image_tags(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        cancelled: Callable[[], bool],
    ) -> tuple[str, ...]:
        return self._registries.tags(reference, platform, credentials, cancelled)

    def image_push(
        self,
        reference: str,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> Pushed:
        return self._pusher.push(reference, credentials, progress, cancelled)

    def image_load(self, path: str, progress: ProgressSink) -> tuple[Image, ...]:
        return self._archives.load(path, progress)

    def image_save(self, refs: tuple[str, ...], write: Callable[[bytes], object]) -> None:
        self._archives.save(refs, write)

    def image_import(self, request: ImportRequest, progress: ProgressSink) -> Image:
        return self._archives.import_(request, progress)

    def image_list(self) -> tuple[Image, ...]:
        return self._core.images.all()

    def image_get(self, ref: str) -> Image:
        return self._core.images.get(ref)

    def image_remove(self, ref: str, force: bool) -> Removed:
        return self._core.images.remove(ref, force)

    def image_tag(self, ref: str, repository: str, tag: str) -> None:
        self._core.images.tag(ref, repository, tag)

    def image_prune(self, accepts: Callable[[Image], bool]) -> Pruned:
        return self._collector.prune(accepts)

    def image_search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        return self._registries.search(search)

    def image_describe(
        self, reference: str, credentials: Credentials | None, cancelled: Callable[[], bool]
    ) -> Distribution:
        return self._registries.describe(reference, credentials, cancelled)

    def registry_login(self, server: str, credentials: Credentials) -> str:
        return self._registries.login(server, credentials)

    def container_changes(self, ref: str) -> tuple[Change, ...]:
        return self._committer.changes(self._containers.find(ref))

    def container_commit(self, ref: str, request: CommitRequest) -> Image:
        return self._committer.commit(self._containers.find(ref), request)

    def container_export(self, ref: str, write: Callable[[bytes], object]) -> None:
        self._trees.export(self._containers.find(ref), write)

    def container_path(self, ref: str, path: str) -> PathStat:
        return self._trees.stat(self._containers.find(ref), path, ref)

    def container_read(
        self, ref: str, path: str, begin: Callable[[PathStat], Callable[[bytes], object]]
    ) -> None:
        self._trees.read(self._containers.find(ref), path, begin, ref)

    def container_write(
        self, ref: str, path: str, source: Iterable[bytes], *, no_overwrite: bool, copy_owner: bool
    ) -> None:
        record = self._containers.find(ref)
        self._trees.write(record, path, source, no_overwrite=no_overwrite, copy_owner=copy_owner, ref=ref)

    def disk_usage(self) -> DiskUsage:
        return self._accountant.usage()

    def content_check(self, *, repair: bool, progress: ProgressSink) -> tuple[Finding, ...]:
        return self._checker.check(repair=repair, progress=progress)
