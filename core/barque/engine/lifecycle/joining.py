"""Namespaces that a container shares: the host's, or another container's."""

from __future__ import annotations

from barque.engine.containers import ContainerService
from barque.engine.records import ContainerRecord
from barque.spi.errors import Conflict, InvalidArgument

__all__ = ["joined_namespace", "lender_of_memory", "running_pid"]

_SHAREABLE = ("shareable", "host")


def joined_namespace(containers: ContainerService, mode: str, kind: str) -> str | None:
    """For a PID or IPC mode (`kind` pid, ipc) what `SpecInputs.pid_namespace` says. Errors: NotFound, Conflict, InvalidArgument."""
    name, _, other = mode.partition(":")
    if mode == "host":
        return ""
    if name == "container" and other:
        return f"/proc/{running_pid(containers, other, kind.upper())}/ns/{kind}"
    if mode in ("", "private", "shareable", "none"):
        return None
    raise InvalidArgument(f"invalid {kind.upper()} mode: {mode}")


def lender_of_memory(containers: ContainerService, ipc_mode: str) -> str:
    """`/proc/PID` of the container whose /dev/shm goes with its IPC namespace, empty for none. Errors: Conflict (it does not share)."""
    name, _, other = ipc_mode.partition(":")
    if name != "container" or not other:
        return ""
    lender = containers.find(other)
    mode = lender.stored.config.ipc_mode
    if mode not in _SHAREABLE and not mode.startswith("container:"):
        raise Conflict(
            f"can't join IPC of container {lender.id}: "
            "non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        )
    return f"/proc/{running_pid(containers, other, 'IPC')}"


def running_pid(containers: ContainerService, ref: str, what: str) -> int:
    """The pid of another container's init. Errors: NotFound, Conflict."""
    other: ContainerRecord = containers.find(ref)
    if not other.running or not other.stored.state.pid:
        raise Conflict(f"cannot join {what} of a non running container: {other.id}")
    return other.stored.state.pid
