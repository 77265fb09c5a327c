"""Containers: making, finding, listing, removing. Starting is in `starting`, ending in `ending`."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from barque.engine import failpoints
from barque.engine.container_views import ContainerViews
from barque.engine.core import Core
from barque.engine.images.layers import prepare_snapshot
from barque.engine.images.rows import StoredImage
from barque.engine.logs import checked_options
from barque.engine.names import NameTable
from barque.engine.networking.links import check_links
from barque.engine.records import ContainerRecord, StoredContainer, WaitHandle, encode
from barque.engine.resolving_options import settle_options
from barque.engine.validation import check_config
from barque.engine.volumes.attached import ContainerVolumes, has_mounts
from barque.oci.merging import merge_image
from barque.spi.common import Platform
from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque.spi.frontend import Container, ContainerConfig
from barque.spi.network import Endpoint
from barque.spi.storage import SnapshotPrepare
from barque.spi.trees.failures import reported

if TYPE_CHECKING:
    from barque.engine.volumes.claims import Claim

__all__ = ["ContainerService"]


class ContainerService:
    """The table of containers. Thread-safe; what concerns one container is guarded by its record's lock."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._records: dict[str, ContainerRecord] = {}
        self.names = NameTable()
        self.volumes = ContainerVolumes(core)
        self.views = ContainerViews(core, self.find, self.volumes)

    def add(self, stored: StoredContainer) -> ContainerRecord:
        """Take one from the database, at the daemon's start."""
        record = ContainerRecord(stored)
        self._records[stored.id] = record
        self.names.take(stored.name, stored.id)
        return record

    def records(self) -> tuple[ContainerRecord, ...]:
        """All of them."""
        with self._lock:
            return tuple(self._records.values())

    def find(self, ref: str) -> ContainerRecord:
        """By id, name or unique prefix of an id. Errors: NotFound (`No such container: x`), InvalidArgument."""
        bare = ref.removeprefix("/")
        with self._lock:
            record = self._records.get(ref) or self._records.get(self.names.owner(bare))
            if record is None and bare:
                matches = [r for id, r in self._records.items() if id.startswith(bare)]
                if len(matches) > 1:
                    raise InvalidArgument(f"multiple IDs found with provided prefix: {bare}")
                record = matches[0] if matches else None
        if record is None:
            raise NotFound(f"No such container: {ref}", hint="`docker ps -a` shows all containers")
        return record

    def create(self, name: str | None, config: ContainerConfig) -> Container:
        """See `Engine.container_create`. Undone on any failure. The image stays until the container is there to need it."""
        with self._core.images.using(config.image) as image:
            return self._create(name, config, image)

    def _create(self, name: str | None, config: ContainerConfig, image: StoredImage) -> Container:
        core = self._core
        _check_platform(config, image.platform)
        image_config = core.images.config(image.id).get("config") or {}
        resolved = replace(config, **merge_image(config, image_config))
        check_config(resolved, core.host.bounding)
        check_links(config, self.find)
        resolved = core.networks.checked(config, resolved)
        resolved, warnings = settle_options(resolved, core.host)
        path, args = _command(resolved)
        log = core.drivers.log(config.log_driver)
        log_options = checked_options(core, log, config)
        runtime = core.drivers.runtime(config.runtime)
        id = secrets.token_hex(32)
        chosen = self.names.reserve(name, id)
        try:
            claim = self.volumes.claim(id, resolved, image_config.get("Volumes"), self._config_of)
        except BaseException:
            self.names.release(chosen, id)
            raise
        resolved = claim.config if claim is not None else resolved
        stored = StoredContainer(
            id=id,
            name=chosen,
            created_ns=time.time_ns(),
            image_id=image.id,
            config=resolved,
            path=path,
            args=args,
            platform=image.platform,
            runtime=runtime.name,
            storage=core.drivers.storage().name,
            log_driver=log.name,
            log_options=log_options,
            hostname=resolved.hostname or id[:12],
            health_shell=tuple(config.document.get("Shell") or image_config.get("Shell") or ()),
        )
        try:
            self._make(stored, image, claim)
        except BaseException:
            self._unmake(stored)
            if claim is not None:
                claim.undo()
            self.names.release(chosen, id)
            raise
        with self._lock:
            record = self._records[id] = ContainerRecord(stored)
        core.images.touch(image.id)
        core.publish(stored, "create")
        return replace(self.views.of(record), warnings=(*warnings, *self._warnings(resolved)))

    def _config_of(self, ref: str) -> ContainerConfig:
        return self.find(ref).stored.config

    def remove(self, record: ContainerRecord, volumes: bool = False) -> None:
        """Remove a container that does not run; with `volumes`, or if it was to go at its end, its anonymous volumes too.

        Errors: Conflict, NotFound (somebody else removed it meanwhile)."""
        with record.lock:
            if record.removed:
                raise NotFound(f"No such container: {record.id}")
            if record.active:
                raise Conflict(f'cannot remove container "/{record.name}": container is {_hindrance(record)}')
            failpoints.hit("remove.begin")
            volumes = volumes or record.stored.config.auto_remove
            mounts = has_mounts(record.stored.config)
            if mounts:
                self.volumes.forget(record.stored, anonymous=volumes)
            else:
                self._core.database.delete("containers", record.id)
            record.removed = True
            failpoints.hit("remove.row-gone")
            self._unmake(record.stored)
            if mounts:
                self.volumes.release(record.stored, anonymous=volumes)
            with self._lock:
                del self._records[record.id]
            self.names.release(record.name, record.id)
            self._core.execs_dropped(record.id)
            for client in record.pending:
                self._core.close_pending(client)
            record.pending.clear()
            self._core.images.released(record.stored.image_id)
            self._core.publish(record.stored, "destroy")
            record.notify(record.exit_status(), "removed", "not-running", "next-exit")

    def wait(self, record: ContainerRecord, condition: str) -> WaitHandle:
        """An armed waiter; see `Engine.container_wait`."""
        if condition not in ("not-running", "next-exit", "removed"):
            raise InvalidArgument(f'invalid condition: "{condition}"')
        with record.lock:
            waiter = WaitHandle(record, condition)
            if record.removed or (condition == "not-running" and not record.active):
                waiter.set(record.exit_status())
            else:
                record.waiters.append(waiter)
            return waiter

    def networked(self) -> tuple[Endpoint, ...]:
        """The endpoints of running containers."""
        return tuple(one for r in self.records() if r.running for one in r.stored.endpoints.values())

    def stored(self, id: str) -> StoredContainer | None:
        """The container with this id, None when there is none."""
        record = self._records.get(id)
        return record.stored if record is not None else None

    def image_users(self) -> list[tuple[str, str, bool]]:
        """(container id, image id, running) of all; also of the images that they have mounted."""
        records = self.records()
        users = [(r.id, r.stored.image_id, r.active) for r in records]
        return users + [(r.id, m.image, r.active) for r in records for m in r.stored.config.image_mounts]

    def sweep(self) -> None:
        """At the daemon's start: remove directories and snapshots that belong to no container (a crash in create or remove).

        Safe beside creates: an id is reserved before anything of it is made, so what is listed first and unknown
        afterwards is nobody's.
        """
        storage = self._core.drivers.storage()
        places = (self._core.layout.containers, self._core.layout.bundles)
        paths = [path for place in places for path in place.iterdir()]
        snapshots = storage.list().snapshots
        with self._lock:
            known = {*self._records, *self.names.owners()}
        for path in paths:
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)
        for key in snapshots:
            if key.partition(".")[0] not in known:  # `ID.NUMBER` is an image that a container has mounted
                storage.remove(key)

    def _warnings(self, config: ContainerConfig) -> tuple[str, ...]:
        """What is asked for and will not be had."""
        if not (config.ports or config.publish_all) or self._core.networks.publishes(config.network):
            return ()
        return (f"Published ports are discarded when using {config.network} network mode",)

    def _make(self, stored: StoredContainer, image: StoredImage, claim: Claim | None) -> None:
        state = self._core.layout.container(stored.id)
        with reported(f"making container {stored.name}", str(state.parent)):
            state.mkdir(mode=0o700)
            (state / "log").mkdir(mode=0o700)
        failpoints.hit("create.directory")
        storage = self._core.drivers.storage(stored.storage)
        request = SnapshotPrepare(stored.id, image.diff_ids, size=stored.config.storage_size)
        prepare_snapshot(self._core, image, storage, request)
        failpoints.hit("create.snapshot")
        if claim is None:
            self._core.database.put("containers", stored.id, encode(stored))
            return
        claim.prepare(storage, self.volumes.workers)
        with self._core.database.transaction() as change:
            change.put("containers", stored.id, encode(stored))
            claim.settle(change)
        claim.close()

    def _unmake(self, stored: StoredContainer) -> None:
        """Free all that `_make` and starts made. Idempotent."""
        layout = self._core.layout
        self._core.drivers.log(stored.log_driver).remove(self.views.log_spec(stored))
        self._core.drivers.storage(stored.storage).remove(stored.id)
        if stored.config.image_mounts:
            self.volumes.free_images(stored)
        # behind the answer: what a crash leaves of them is nobody's, and the next daemon's to sweep
        self._core.monitor.submit(lambda: _remove_all(layout.bundle(stored.id), layout.container(stored.id)))


def _remove_all(*directories: Path) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _hindrance(record: ContainerRecord) -> str:
    """Why one that is not down cannot be removed, in Docker's words."""
    status = record.stored.state.status
    if status == "paused":
        return "paused and must be unpaused first"
    return f"{status}: stop the container before removing or force remove"


def _check_platform(config: ContainerConfig, actual: Platform) -> None:
    wanted = config.platform
    if wanted and (wanted.os, wanted.architecture) != (actual.os, actual.architecture):
        raise NotFound(
            f"image with reference {config.image} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {actual}"
        )


def _command(config: ContainerConfig) -> tuple[str, tuple[str, ...]]:
    words = [*(config.entrypoint or ()), *(config.command or ())]
    if not words or not words[0]:
        raise InvalidArgument("no command specified", hint="the image has none either: say what to run")
    return words[0], tuple(words[1:])
