"""Typed façades: what the engine calls instead of hooks. Each checks the type of what a driver returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from barque.plugins.registry import LoadedDriver, Registry
from barque.spi.authorization import AuthorizationRequest
from barque.spi.common import Descriptor, Mount, Probe
from barque.spi.errors import Internal, NotImplemented
from barque.spi.frontend import Engine, Listener
from barque.spi.image import (
    BlobSink,
    ContentReader,
    Credentials,
    Distribution,
    ImageCapability,
    ImagePush,
    ImageRequest,
    ImageSearch,
    ResolvedImage,
    SavedImage,
    SearchResult,
)
from barque.spi.log import LogEntry, LogQuery, LogSpec
from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkSpec,
    PortBinding,
)
from barque.spi.storage import Change, LayerApply, SnapshotPrepare, StorageCapability, StorageList, Usage
from barque.spi.volume import VolumeCapability, VolumeSpec

__all__ = [
    "AuthorizationDriver",
    "Facade",
    "FrontendDriver",
    "ImageDriver",
    "LogDriver",
    "NetworkDriver",
    "RuntimeDriver",
    "StorageDriver",
    "VolumeDriver",
]

T = TypeVar("T")


class Facade:
    """One loaded driver."""

    def __init__(self, registry: Registry, loaded: LoadedDriver) -> None:
        self._registry = registry
        self.loaded = loaded
        self.name = loaded.name
        self.capabilities = loaded.capabilities

    def probe(self) -> Probe:
        """What the host lacks for this driver."""
        return self._ask(f"{self.loaded.kind.name}_probe", Probe)

    def _call(self, hook: str, **arguments: Any) -> Any:
        return self._registry.call(self.loaded, hook, **arguments)

    def _require(self, capability: str, what: str) -> None:
        if capability not in self.capabilities:
            raise NotImplemented(
                f"{self.loaded.label} cannot {what}", hint=f"it lacks the capability {capability!r}"
            )

    def _ask(self, hook: str, expected: type[T], **arguments: Any) -> T:
        result = self._call(hook, **arguments)
        if not isinstance(result, expected):
            raise Internal(
                f"{self.loaded.label} returned {type(result).__name__} from {hook}, not {expected.__name__}",
                hint="this is a defect of the plugin",
            )
        return result


class RuntimeDriver(Facade):
    """Kind `runtime`, as far as the daemon calls it; the rest runs in the shim."""

    def delete(self, id: str, root: str, force: bool) -> None:
        """After the death of a shim: free what the runtime holds of `id`. Idempotent."""
        self._call("runtime_delete", id=id, root=root, force=force)


class NetworkDriver(Facade):
    """Kind `network`."""

    def create(self, spec: NetworkSpec) -> NetworkSpec:
        """See `NetworkHooks.network_create`."""
        return self._ask("network_create", NetworkSpec, spec=spec)

    def remove(self, spec: NetworkSpec) -> None:
        """See `NetworkHooks.network_remove`."""
        self._call("network_remove", spec=spec)

    def attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """See `NetworkHooks.network_attach`."""
        return self._ask("network_attach", Attachment, spec=spec, netns=netns)

    def detach(self, endpoint: Endpoint, netns: int | None = None) -> None:
        """See `NetworkHooks.network_detach`."""
        self._call("network_detach", endpoint=endpoint, netns=netns)

    def update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """See `NetworkHooks.network_update`. NotImplemented without the capability."""
        self._require(NetworkCapability.CONNECT, "change a container's networks while it runs")
        arguments = {"endpoint": endpoint, "netns": netns, "default_route": default_route, "ports": ports}
        return self._ask("network_update", Endpoint, **arguments)

    def restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """See `NetworkHooks.network_restore`."""
        self._call("network_restore", networks=networks, endpoints=endpoints)

    def close(self) -> None:
        """See `NetworkHooks.network_close`."""
        self._call("network_close")


class StorageDriver(Facade):
    """Kind `storage`."""

    def apply(self, request: LayerApply) -> Usage:
        """See `StorageHooks.storage_apply`."""
        return self._ask("storage_apply", Usage, request=request)

    def list(self) -> StorageList:
        """See `StorageHooks.storage_list`."""
        return self._ask("storage_list", StorageList)

    def prepare(self, request: SnapshotPrepare) -> None:
        """See `StorageHooks.storage_prepare`. NotImplemented when the driver lacks a capability that is asked for."""
        if request.size:
            self._require(StorageCapability.QUOTA, "limit the size of a container (--storage-opt size)")
        if request.idmap:
            self._require(StorageCapability.IDMAP, "map the owners of layers")
        self._call("storage_prepare", request=request)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See `StorageHooks.storage_mounts`."""
        mounts: tuple[Mount, ...] = self._ask("storage_mounts", tuple, key=key)
        return mounts

    def usage(self, key: str) -> Usage:
        """See `StorageHooks.storage_usage`."""
        return self._ask("storage_usage", Usage, key=key)

    def changes(self, key: str) -> tuple[Change, ...]:
        """See `StorageHooks.storage_changes`. NotImplemented without the capability."""
        self._require(StorageCapability.DIFF, "tell what a container changed")
        changes: tuple[Change, ...] = self._ask("storage_changes", tuple, key=key)
        return changes

    def diff(self, key: str, write: Callable[[bytes], object]) -> None:
        """See `StorageHooks.storage_diff`. NotImplemented without the capability."""
        self._require(StorageCapability.DIFF, "pack what a container changed")
        self._call("storage_diff", key=key, write=write)

    def verify(self, request: LayerApply) -> tuple[str, ...]:
        """See `StorageHooks.storage_verify`. NotImplemented without the capability."""
        self._require(StorageCapability.VERIFY, "verify a layer")
        problems: tuple[str, ...] = self._ask("storage_verify", tuple, request=request)
        return problems

    def remove(self, key: str) -> None:
        """See `StorageHooks.storage_remove`."""
        self._call("storage_remove", key=key)

    def remove_layer(self, diff_id: str) -> None:
        """See `StorageHooks.storage_remove_layer`."""
        self._call("storage_remove_layer", diff_id=diff_id)


class ImageDriver(Facade):
    """Kind `image`."""

    def resolve(self, request: ImageRequest) -> ResolvedImage:
        """See `ImageHooks.image_resolve`."""
        return self._ask("image_resolve", ResolvedImage, request=request)

    def fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """See `ImageHooks.image_fetch`."""
        self._call("image_fetch", image=image, layer=layer, sink=sink)

    def list(self, request: ImageRequest) -> tuple[str, ...]:
        """See `ImageHooks.image_list`. NotImplemented without the capability."""
        self._require(ImageCapability.LIST, "list images")
        references: tuple[str, ...] = self._ask("image_list", tuple, request=request)
        return references

    def push(self, request: ImagePush) -> Descriptor:
        """See `ImageHooks.image_push`. NotImplemented without the capability."""
        self._require(ImageCapability.PUSH, "take images")
        return self._ask("image_push", Descriptor, request=request)

    def save(
        self, images: tuple[SavedImage, ...], content: ContentReader, write: Callable[[bytes], object]
    ) -> None:
        """See `ImageHooks.image_save`. NotImplemented without the capability."""
        self._require(ImageCapability.SAVE, "write archives")
        self._call("image_save", images=images, content=content, write=write)

    def search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        """See `ImageHooks.image_search`. NotImplemented without the capability."""
        self._require(ImageCapability.SEARCH, "search")
        results: tuple[SearchResult, ...] = self._ask("image_search", tuple, search=search)
        return results

    def login(self, server: str, credentials: Credentials) -> str:
        """See `ImageHooks.image_login`. NotImplemented without the capability."""
        self._require(ImageCapability.LOGIN, "check credentials")
        return self._ask("image_login", str, server=server, credentials=credentials)

    def describe(self, request: ImageRequest) -> Distribution:
        """See `ImageHooks.image_describe`. NotImplemented without the capability."""
        self._require(ImageCapability.DESCRIBE, "describe an image without pulling it")
        return self._ask("image_describe", Distribution, request=request)


class VolumeDriver(Facade):
    """Kind `volume`."""

    def create(self, spec: VolumeSpec) -> None:
        """See `VolumeHooks.volume_create`."""
        self._call("volume_create", spec=spec)

    def remove(self, spec: VolumeSpec) -> None:
        """See `VolumeHooks.volume_remove`."""
        self._call("volume_remove", spec=spec)

    def path(self, spec: VolumeSpec) -> str:
        """See `VolumeHooks.volume_path`."""
        return self._ask("volume_path", str, spec=spec)

    def mount(self, spec: VolumeSpec, user: str) -> str:
        """See `VolumeHooks.volume_mount`."""
        return self._ask("volume_mount", str, spec=spec, user=user)

    def unmount(self, spec: VolumeSpec, user: str) -> None:
        """See `VolumeHooks.volume_unmount`."""
        self._call("volume_unmount", spec=spec, user=user)

    def restore(self, users: Mapping[str, tuple[str, ...]]) -> None:
        """See `VolumeHooks.volume_restore`."""
        self._call("volume_restore", users=users)

    def usage(self, spec: VolumeSpec) -> int:
        """See `VolumeHooks.volume_usage`. NotImplemented without the capability."""
        self._require(VolumeCapability.USAGE, "tell the size of a volume")
        return self._ask("volume_usage", int, spec=spec)


class AuthorizationDriver(Facade):
    """Kind `authorization`."""

    def check(self, request: AuthorizationRequest) -> None:
        """See `AuthorizationHooks.authorization_check`."""
        self._call("authorization_check", request=request)


class LogDriver(Facade):
    """Kind `log`, as far as the daemon calls it."""

    def validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """See `LogHooks.log_validate`."""
        checked: Mapping[str, str] = self._ask("log_validate", Mapping, options=options)  # type: ignore[type-abstract]
        return checked

    def read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """See `LogHooks.log_read`."""
        entries: Iterator[LogEntry] = self._ask("log_read", Iterator, spec=spec, query=query)  # type: ignore[type-abstract]
        return entries

    def remove(self, spec: LogSpec) -> None:
        """See `LogHooks.log_remove`."""
        self._call("log_remove", spec=spec)


class FrontendDriver(Facade):
    """Kind `frontend`."""

    def start(self, engine: Engine, listeners: tuple[Listener, ...]) -> None:
        """See `FrontendHooks.frontend_start`."""
        self._call("frontend_start", engine=engine, listeners=listeners)

    def stop(self, timeout: float) -> None:
        """See `FrontendHooks.frontend_stop`."""
        self._call("frontend_stop", timeout=timeout)
