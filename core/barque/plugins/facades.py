"""Typed façades: what the engine calls instead of hooks. Each checks the type of what a driver returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from barque.plugins.registry import LoadedDriver, Registry
from barque.spi.common import Descriptor, Mount, Probe
from barque.spi.errors import Internal
from barque.spi.frontend import Engine, Listener
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage
from barque.spi.log import LogEntry, LogQuery, LogSpec
from barque.spi.network import Attachment, Endpoint, EndpointSpec, NetworkSpec
from barque.spi.storage import LayerApply, StorageList, Usage

__all__ = [
    "Facade",
    "FrontendDriver",
    "ImageDriver",
    "LogDriver",
    "NetworkDriver",
    "RuntimeDriver",
    "StorageDriver",
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

    def detach(self, endpoint: Endpoint) -> None:
        """See `NetworkHooks.network_detach`."""
        self._call("network_detach", endpoint=endpoint)

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

    def prepare(self, key: str, layers: tuple[str, ...]) -> None:
        """See `StorageHooks.storage_prepare`."""
        self._call("storage_prepare", key=key, layers=layers)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See `StorageHooks.storage_mounts`."""
        mounts: tuple[Mount, ...] = self._ask("storage_mounts", tuple, key=key)
        return mounts

    def usage(self, key: str) -> Usage:
        """See `StorageHooks.storage_usage`."""
        return self._ask("storage_usage", Usage, key=key)

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
