"""What a shim is told of the container that it shall start: everything of its configuration, in the words of `ShimConfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.init import INIT_WORDS, InitProgram
from barque.engine.lifecycle.health import health_settings
from barque.engine.lifecycle.joining import joined_namespace, lender_of_memory
from barque.engine.logs import attributes_of, cache_settings
from barque.engine.networking.etcfiles import EtcFiles
from barque.engine.networking.links import with_links
from barque.engine.networking.service import Connection
from barque.engine.records import PendingClient, StoredContainer
from barque.oci.spec import SpecInputs, runtime_spec
from barque.shim.protocol import ShimConfig

if TYPE_CHECKING:
    from barque.engine.volumes.binding import Bound

__all__ = ["Describer"]


class Describer:
    """Makes a `ShimConfig` of a container's record and what was prepared for its start."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._init = InitProgram(core.layout.root / "init")

    def shim_config(
        self,
        stored: StoredContainer,
        connection: Connection,
        files: EtcFiles,
        hostname: str,
        pending: list[PendingClient],
        bound: Bound | None,
    ) -> ShimConfig:
        """`pending`: the clients that go with the launch. Errors: of what it asks for (devices, other containers, an init)."""
        core, bundle = self._core, self._core.layout.bundle(stored.id)
        config = stored.config
        log = self._containers.views.log_spec(stored)
        lender, shared_memory = lender_of_memory(self._containers, config.ipc_mode), str(bundle / "shm")
        inputs = SpecInputs(
            id=stored.id,
            rootfs=str(bundle / "rootfs"),
            args=(*(INIT_WORDS if config.init else ()), stored.path, *stored.args),
            hostname=hostname,
            cgroups_path=core.host.cgroups_path(config.cgroup_parent, stored.id),
            network=connection.mode,
            pid_namespace=joined_namespace(self._containers, config.pid_mode, "pid"),
            ipc_namespace=joined_namespace(self._containers, config.ipc_mode, "ipc"),
            files=files.mounts(),
            bounding=core.host.bounding,
            cgroup_v2=core.host.cgroup_v2,
            last_gid=core.host.last_gid,
            shared_memory=shared_memory if lender else "",
            cdi_directories=core.host.cdi_directories,
            volumes=(
                *(bound.mounts if bound is not None else ()),
                *(self._init.mounts() if config.init else ()),
            ),
        )
        spec = runtime_spec(with_links(config, stored.name, connection.links), inputs)
        groups = spec["process"]["user"].pop("additionalGids", ())  # those that devices bring
        runtime_root = core.layout.runtime(stored.runtime)
        return ShimConfig(
            id=stored.id,
            state=str(core.layout.container(stored.id)),
            bundle=str(bundle),
            rootfs=str(bundle / "rootfs"),
            mounts=core.drivers.storage(stored.storage).mounts(stored.id),
            runtime=stored.runtime,
            runtime_root=str(runtime_root),
            spec=spec,
            log=stored.log_driver,
            log_directory=log.directory,
            log_options=dict(stored.log_options),
            log_attributes=attributes_of(core.drivers.log(stored.log_driver), stored),
            log_cache=cache_settings(core, stored),
            terminal=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            console_size=config.console_size,
            clients=tuple(client.attach for client in pending),
            user=config.user,
            group_add=(*config.group_add, *map(str, groups)),
            resolver=connection.resolver,
            health=health_settings(stored, core.host.bounding) if config.healthcheck else None,
            shared_memory=(lender, shared_memory) if lender else None,
            sources=bound.sources if bound is not None else (),
        )
