"""`HostConfig.DeviceRequests`: devices asked for by name (CDI) or by what they can do (`--gpus`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from barque.oci.cdi import Devices
from barque.spi.container import DeviceRequest
from barque.spi.errors import Internal

__all__ = ["grant_requests"]

_GPU_KINDS = ("nvidia.com/gpu", "amd.com/gpu")


def grant_requests(
    spec: dict[str, Any], requests: Sequence[DeviceRequest], directories: Sequence[str]
) -> None:
    """Put what is asked for into an OCI configuration. GPUs come by CDI too, from what their vendors' tools wrote.

    Errors: Internal in Docker's words (and with its status) for what this host does not have."""
    devices = Devices(directories)
    names: list[str] = []
    for request in requests:
        names += request.ids if request.driver == "cdi" else _gpus(request, devices.names)
    devices.inject(spec, names)


def _gpus(request: DeviceRequest, known: Sequence[str]) -> list[str]:
    wanted = any("gpu" in capabilities for capabilities in request.capabilities)
    for kind in _GPU_KINDS if wanted else ():
        own = [name for name in known if name.startswith(f"{kind}=")]
        if own and request.driver in ("", kind.partition(".")[0]):
            return _chosen(request, kind, own)
    alternatives = " ".join(f"[{' '.join(all_of)}]" for all_of in request.capabilities)
    raise Internal(
        f'could not select device driver "{request.driver}" with capabilities: [{alternatives}]',
    )


def _chosen(request: DeviceRequest, kind: str, own: Sequence[str]) -> list[str]:
    if request.ids:
        return [f"{kind}={id}" for id in request.ids]
    if request.count >= 0:
        return [f"{kind}={number}" for number in range(request.count)]
    everything = f"{kind}=all"
    return [everything] if everything in own else list(own)
