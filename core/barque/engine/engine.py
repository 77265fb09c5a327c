"""The engine: its services put together behind the facade that frontends see (`barque.spi.frontend.Engine`)."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator

import barque
from barque.engine.attaching import Attacher
from barque.engine.authorizing import Authorizer
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.events import Subscription
from barque.engine.execs import ExecService
from barque.engine.host import remove_cgroup_parent
from barque.engine.lifecycle.adoption import Adopter
from barque.engine.lifecycle.control import Controller
from barque.engine.lifecycle.ending import Ender
from barque.engine.lifecycle.restarting import Restarter
from barque.engine.lifecycle.reviving import Reviver
from barque.engine.lifecycle.starting import Starter
from barque.engine.networking.facade import NetworkFacade
from barque.engine.records import ContainerRecord, WaitHandle, decode, unreadable
from barque.engine.validation import signal_number
from barque.engine.volumes.attached import users_of_volumes
from barque.plugins.facades import FrontendDriver
from barque.spi.authorization import AuthorizationRequest
from barque.spi.errors import BarqueError, NotFound
from barque.spi.frontend import (
    AttachRequest,
    ClientStream,
    Container,
    ContainerConfig,
    ContainerUse,
    EngineInfo,
    Exec,
    ExecConfig,
    LogsRequest,
    ProcessTable,
    Resources,
    RestartPolicy,
    Volume,
    VolumeRequest,
)
from barque.spi.log import LogEntry

__all__ = ["BarqueEngine"]

_log = logging.getLogger(__name__)


class BarqueEngine(NetworkFacade):
    """One engine on one data root. Thread-safe. See `barque.spi.frontend.Engine` for the methods."""

    def __init__(self, core: Core) -> None:
        super().__init__(core, ContainerService(core))
        self._execs = ExecService(core, self._containers)
        self._restarter = Restarter(lambda record: self._starter.start_again(record))
        self._ender = Ender(core, self._containers, self._restarter, self._execs.ended)
        self._starter = Starter(core, self._containers, self._ender.on_event)
        self._reviver = Reviver(self._containers.find, self._starter.revive)
        self._attacher = Attacher(core, self._containers)
        self._controller = Controller(core)
        self._adopter = Adopter(core, self._containers, self._ender, self._execs.adopt)
        self._authorizer = Authorizer(core.drivers)
        self._started_ns = time.time_ns()
        self._id = core.database.fact("engine-id", secrets.token_hex(16))

    def load(self) -> None:
        """Read the state and adopt what runs. After this the engine may be asked."""
        core = self._core
        core.images.load()
        core.networks.load()
        core.volumes.load()
        for id, document in core.database.all("containers"):
            try:
                self._containers.add(decode(document))
            except ValueError as error:
                _log.error("container %s: its record is damaged and it is listed as dead: %s", id[:12], error)
                self._containers.add(unreadable(id, document))
        self._networks_loaded()
        core.volumes.settle(*users_of_volumes(self._containers.records()))
        self._adopter.adopt_all()

    def settle(self) -> None:
        """What need not be done before the first answer: sweep leftovers, make networks agree, finish removals."""
        self._networks_settled()
        self._restarter.open()
        self._reviver.begin(self._containers.records())
        self._containers.sweep()
        self._collector.start()
        for record in self._containers.records():
            if record.stored.config.auto_remove and record.stored.state.status == "exited":
                with contextlib.suppress(NotFound):
                    self._containers.remove(record)

    def stop(self) -> None:
        """The end is near: long operations (pulls) are to end, and no container is restarted any more. Idempotent."""
        self._reviver.stop()
        self._core.puller.stop()
        self._pusher.stop()

    def close(self) -> None:
        """Stop; containers go on. With none left, also take away what is the engine's own on this host. Idempotent."""
        self._restarter.close()
        self._reviver.close()
        in_use = any(record.running for record in self._containers.records())
        self._core.puller.wait(3.0)
        self._collector.close()
        self._core.monitor.close()
        self._core.networks.close(in_use)
        if not in_use and not self._core.host.rootless:
            remove_cgroup_parent()
        self._core.launcher().close()
        self._core.events.close()
        self._core.database.close()

    def info(self) -> EngineInfo:
        drivers, profile = self._core.drivers, self._core.drivers.profile
        return EngineInfo(
            id=self._id,
            version=barque.__version__,
            profile=profile.name,
            root=str(self._core.layout.root),
            runtimes={name: drivers.driver_of("runtime", name) for name in drivers.names("runtime")},
            default_runtime=profile.runtime.default,
            storage_driver=drivers.storage_in_use,
            log_driver=profile.log.default,
            log_drivers=drivers.names("log"),
            networks=drivers.names("network"),
            volumes=drivers.names("volume"),
            authorizations=drivers.names("authorization"),
            cgroup_version=self._core.host.cgroup_version,
            started_ns=self._started_ns,
            warnings=self._core.host.warnings,
            default_registry=self._core.images.naming.default_registry,
            cdi_directories=self._core.host.cdi_directories,
        )

    # -- containers ---------------------------------------------------------------------------

    def container_create(self, name: str | None, config: ContainerConfig) -> Container:
        return self._containers.create(name, config)

    def container_list(self) -> tuple[Container, ...]:
        records = sorted(self._containers.records(), key=lambda r: r.stored.created_ns, reverse=True)
        return tuple(self._containers.views.of(record) for record in records)

    def container_get(self, ref: str) -> Container:
        return self._containers.views.of(self._containers.find(ref))

    def container_start(self, ref: str) -> bool:
        return self._start(self._containers.find(ref))

    def _start(self, record: ContainerRecord) -> bool:
        try:
            return self._starter.start(record)
        except BarqueError:
            if record.stored.config.auto_remove:
                self._containers.remove(record)
            raise

    def container_stop(self, ref: str, signal: str | None, timeout: int | None) -> bool:
        return self._ender.stop(self._containers.find(ref), signal, timeout)

    def container_kill(self, ref: str, signal: str) -> None:
        record = self._containers.find(ref)
        self._ender.signal(record, signal_number(signal or "KILL"))

    def container_pause(self, ref: str) -> None:
        self._controller.pause(self._containers.find(ref))

    def container_unpause(self, ref: str) -> None:
        self._controller.resume(self._containers.find(ref))

    def container_update(self, ref: str, resources: Resources | None, restart: RestartPolicy | None) -> None:
        self._controller.update(self._containers.find(ref), resources, restart)

    def container_rename(self, ref: str, name: str) -> None:
        from barque.engine.lifecycle.renaming import rename  # hardly ever

        rename(self._core, self._containers, self._containers.find(ref), name)

    def container_restart(self, ref: str, signal: str | None, timeout: int | None) -> None:
        record = self._containers.find(ref)
        record.kept = True
        try:
            self._ender.stop(record, signal, timeout)
        finally:
            record.kept = False
        self._start(record)
        self._core.publish(record.stored, "restart")

    def container_stats(self, ref: str) -> ContainerUse:
        return self._controller.use(self._containers.find(ref))

    def container_top(self, ref: str, options: str) -> ProcessTable:
        return self._controller.processes(self._containers.find(ref), options)

    def container_wait(self, ref: str, condition: str) -> WaitHandle:
        return self._containers.wait(self._containers.find(ref), condition)

    def container_remove(self, ref: str, force: bool, volumes: bool = False, link: bool = False) -> None:
        if link:
            self._follower.unlink(ref)
            return
        record = self._containers.find(ref)
        if force and record.active:
            removed = self._containers.wait(record, "removed") if record.stored.config.auto_remove else None
            self._ender.kill_and_wait(record)
            if removed is not None:
                removed.result(10.0)
                return
        self._containers.remove(record, volumes)

    def container_resize(self, ref: str, height: int, width: int) -> None:
        self._attacher.resize(self._containers.find(ref), height, width)

    def container_attach(self, ref: str, request: AttachRequest, stream: ClientStream) -> None:
        self._attacher.attach(self._containers.find(ref), request, stream)

    def container_logs(self, ref: str, request: LogsRequest) -> Iterator[LogEntry]:
        return self._attacher.logs(self._containers.find(ref), request)

    # -- execs --------------------------------------------------------------------------------

    def exec_create(self, ref: str, config: ExecConfig) -> str:
        return self._execs.create(ref, config)

    def exec_start(self, exec_id: str, stream: ClientStream | None) -> None:
        self._execs.start(exec_id, stream)

    def exec_get(self, exec_id: str) -> Exec:
        return self._execs.get(exec_id)

    def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        self._execs.resize(exec_id, height, width)

    # -- volumes ------------------------------------------------------------------------------

    def volume_list(self) -> tuple[Volume, ...]:
        return self._core.volumes.all()

    def volume_get(self, name: str) -> Volume:
        return self._core.volumes.get(name)

    def volume_create(self, request: VolumeRequest) -> Volume:
        return self._core.volumes.create(request)

    def volume_remove(self, name: str, force: bool) -> None:
        self._core.volumes.remove(name, force)

    def volume_usage(self, name: str) -> int:
        return self._core.volumes.usage(name)

    # -- requests, events ---------------------------------------------------------------------

    def authorize(self, request: AuthorizationRequest) -> None:
        self._authorizer.check(request)

    @property
    def authorizing(self) -> bool:
        return self._authorizer.asks

    def events(self, since_ns: int | None, until_ns: int | None) -> Subscription:
        return self._core.events.subscribe(since_ns, until_ns)

    def pruned(self, type: str, reclaimed: int) -> None:
        self._core.events.publish(type, "prune", "", {"reclaimed": str(reclaimed)})

    def frontends(self) -> tuple[FrontendDriver, ...]:
        """The profile's frontends, not started."""
        drivers = self._core.drivers
        return tuple(drivers.frontend(name) for name in drivers.names("frontend"))
