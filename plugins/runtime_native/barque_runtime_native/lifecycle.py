"""start, state, kill and delete of a container that exists."""

from __future__ import annotations

import errno
import os
import select

from barque.spi.errors import BarqueError, Conflict, NotFound
from barque_runtime_native import syscalls
from barque_runtime_native.cgroup import kill_all, main_directory, remove, signal_all
from barque_runtime_native.channel import MAX_PACKET, decode_error
from barque_runtime_native.hooks import read_hooks, run_all
from barque_runtime_native.spec import Section
from barque_runtime_native.state import (
    CREATED,
    CREATING,
    REPORT,
    RUNNING,
    START,
    STOPPED,
    Store,
    open_process,
    status_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGKILL = 9
KILL_SECONDS = 10.0


def start(container: str, root: str) -> None:
    """Let init execute its program and wait until it has. Errors: as `runtime_start` says."""
    store = Store(root, container)
    document = store.read()
    status, pid = status_of(store, document)
    if status != CREATED:
        raise Conflict(f"cannot start container {container}: it is {status}")
    report = os.open(store.path(REPORT), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _release(store)
        os.set_blocking(report, True)
        said = b""
        while part := os.read(report, MAX_PACKET):
            said += part
    finally:
        os.close(report)
    if said:
        raise decode_error(said)
    os.unlink(store.path(START))
    os.unlink(store.path(REPORT))
    hooks = read_hooks(Section(document["config"]).section("hooks")).get("poststart", [])
    if hooks:
        run_all(hooks, oci_state(document, RUNNING, pid))


def _release(store: Store) -> None:
    """Write the byte init waits for. Without init nobody has the FIFO open (ENXIO)."""
    try:
        fd = os.open(store.path(START), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        raise Conflict(f"cannot start container {store.id}: its init is gone") from error
    try:
        os.write(fd, b"1")
    finally:
        os.close(fd)


def state(container: str, root: str) -> dict[str, Any]:
    """The OCI state (runtime-spec "State"). Errors: NotFound."""
    store = Store(root, container)
    document = store.read()
    return oci_state(document, *status_of(store, document))


def oci_state(document: dict[str, Any], status: str, pid: int) -> dict[str, Any]:
    """The OCI state of a container with that status."""
    config = document["config"]
    return {
        "ociVersion": config["ociVersion"],
        "id": document["id"],
        "status": status,
        "pid": pid,
        "bundle": document["bundle"],
        "annotations": config.get("annotations") or {},
    }


def kill(container: str, root: str, signal: int, everyone: bool) -> None:
    """Signal init, or with `everyone` all processes of the container's cgroup."""
    store = Store(root, container)
    document = store.read()
    status, _ = status_of(store, document)
    if everyone:
        _kill_cgroup(document, signal)
        return
    pidfd = _open_init(store) if status in (CREATED, RUNNING) else None
    if pidfd is None:
        raise not_running(container)
    try:
        syscalls.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise not_running(container) from None
    finally:
        os.close(pidfd)


def not_running(container: str) -> NotFound:
    """containerd looks for just these three words to know that a container has ended."""
    return NotFound(f"container not running: {container}")


def _kill_cgroup(document: dict[str, Any], signal: int) -> None:
    directory = main_directory(document["cgroups"])
    if signal == SIGKILL:
        kill_all(directory)
    else:
        signal_all(directory, signal)


def _open_init(store: Store) -> int | None:
    init = store.read_init()
    return open_process(*init) if init else None


def delete(container: str, root: str, force: bool) -> bool:
    """Free everything; False when nothing was there. Errors: Conflict when it runs and `force` is false."""
    store = Store(root, container)
    try:
        document = store.read()
    except NotFound:
        store.remove()
        return False
    except BarqueError:
        # damaged: what it named cannot be freed any more
        if not force:
            raise
        store.remove()
        return True
    status, pid = status_of(store, document)
    if status in (RUNNING, CREATING) and not force:
        raise Conflict(
            f"cannot delete container {container}: it is {status}", hint="stop it first, or delete with force"
        )
    _end(store, document, status)
    remove(document["cgroups"])
    store.remove()
    hooks = read_hooks(Section(document["config"]).section("hooks")).get("poststop", [])
    if hooks:
        run_all(hooks, oci_state(document, STOPPED, pid))
    return True


def _end(store: Store, document: dict[str, Any], status: str) -> None:
    """Kill init and whoever is left, and wait for init's end; its parent reaps it."""
    pidfd = _open_init(store) if status in (CREATED, RUNNING) else None
    try:
        if pidfd is not None:
            syscalls.pidfd_send_signal(pidfd, SIGKILL)
        kill_all(main_directory(document["cgroups"]))
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(KILL_SECONDS * 1000):
                raise Conflict(
                    f"container {store.id} does not end", hint="a process of it waits in the kernel"
                )
    finally:
        if pidfd is not None:
            os.close(pidfd)
