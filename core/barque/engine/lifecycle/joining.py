"""Namespaces that a container shares: the host's, or another container's."""

from __future__ import annotations

import os

from barque.engine.containers import ContainerService
from barque.engine.networking.sandboxes import open_sandbox
from barque.engine.processes import start_time
from barque.engine.records import ContainerRecord
from barque.spi.errors import Conflict, InvalidArgument

__all__ = ["joined_namespace", "joined_sandbox", "lender_of_memory"]

_SHAREABLE = ("shareable", "host")


def joined_namespace(containers: ContainerService, mode: str, kind: str) -> str | None:
    """For a PID or IPC mode (`kind` pid, ipc) what `SpecInputs.pid_namespace` says. Errors: NotFound, Conflict, InvalidArgument."""
    name, _, other = mode.partition(":")
    if mode == "host":
        return ""
    if name == "container" and other:
        return f"/proc/{_running_pid(containers, other, kind.upper())}/ns/{kind}"
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
    return f"/proc/{_running_pid(containers, other, 'IPC')}"


def joined_sandbox(containers: ContainerService, ref: str) -> int:
    """A descriptor of another container's network namespace. Errors: NotFound, Conflict, also when it ends in this moment."""
    try:
        netns = open_sandbox(_running_pid(containers, ref, "network"))
    except FileNotFoundError:
        raise _does_not_run(containers.find(ref), "network") from None
    try:
        _running_pid(containers, ref, "network")  # what was opened is not of a process that has its pid since
    except BaseException:
        os.close(netns)
        raise
    return netns


def _running_pid(containers: ContainerService, ref: str, what: str) -> int:
    """The pid of another container's init. Errors: NotFound, Conflict."""
    other: ContainerRecord = containers.find(ref)
    state = other.stored.state
    if not other.running or not state.pid or start_time(state.pid) != other.stored.starttime:
        raise _does_not_run(other, what)
    return state.pid


def _does_not_run(other: ContainerRecord, what: str) -> Conflict:
    return Conflict(f"cannot join {what} of a non running container: {other.id}")
