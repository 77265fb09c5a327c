"""start, state, pause, resume, kill and delete of a container that exists."""

from __future__ import annotations

import errno
import os
import select

from barque.spi.errors import BarqueError, Conflict, NotFound
from barque_runtime_native.cgroup.control import (
    freeze,
    is_frozen,
    kill_all,
    main_directory,
    processes,
    remove,
    signal_all,
    thaw_all,
)
from barque_runtime_native.channel import MAX_PACKET, decode_error
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.spec import Section
from barque_runtime_native.state import (
    CREATED,
    CREATING,
    PAUSED,
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
        raise cannot_start(status)
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
    run_hooks("poststart", document, oci_state(document, RUNNING, pid))


def cannot_start(status: str) -> Conflict:
    """In runc's words, which its callers read."""
    if status == STOPPED:
        return Conflict("cannot start a container that has stopped")
    return Conflict(f"cannot start an already {status} container")


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
    status, pid = status_of(store, document)
    return oci_state(document, told(document, status), pid)


def told(document: dict[str, Any], status: str) -> str:
    """The status for people: `paused` for a running container that is frozen."""
    return PAUSED if status == RUNNING and is_frozen(main_directory(document["cgroups"])) else status


def pause(container: str, root: str) -> None:
    """Freeze all processes. Errors: as `runtime_pause` says."""
    freeze(_running(container, root, "container not running"), True)


def resume(container: str, root: str) -> None:
    """Undo `pause`. Errors: as `runtime_resume` says."""
    directory = _running(container, root, "container not paused")
    if is_frozen(directory):
        freeze(directory, False)


def _running(container: str, root: str, otherwise: str) -> str:
    """The cgroup to freeze of a container that runs. Errors: NotFound; Conflict."""
    store = Store(root, container)
    document = store.read()
    status, _ = status_of(store, document)
    if status != RUNNING:
        raise Conflict(otherwise, hint=f"container {container} is {status}")
    return main_directory(document["cgroups"])


def members(container: str, root: str) -> tuple[int, ...]:
    """The pids of all processes of the container, ascending. Errors: NotFound."""
    store = Store(root, container)
    document = store.read()
    if directory := main_directory(document["cgroups"]):
        return tuple(sorted(processes(directory)))
    # Imported for a rootless container without a cgroup.
    from barque_runtime_native.cgroup import pid_namespace

    _, pid = status_of(store, document)
    return tuple(sorted(pid_namespace.members(pid) if pid else ()))


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
    """Signal init, or with `everyone` all processes of the container's cgroup.

    SIGKILL ends a paused container too, and without a pid namespace of its own all of its processes: otherwise
    those that init leaves behind would go on.
    """
    store = Store(root, container)
    document = store.read()
    status, pid = status_of(store, document)
    pidfd = _open_init(store) if status in (CREATED, RUNNING) else None
    if pidfd is None and not everyone:
        raise not_running(container)
    try:
        if pidfd is not None and not everyone:
            syscalls.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise not_running(container) from None
    finally:
        if pidfd is not None:
            os.close(pidfd)
    if everyone or (signal == SIGKILL and not has_pid_namespace(document)):
        _signal_everyone(document, signal, pid)
    if signal == SIGKILL and is_frozen(directory := main_directory(document["cgroups"])):
        thaw_all(directory)


def has_pid_namespace(document: dict[str, Any]) -> bool:
    """Whether the processes of the container end with its init."""
    named = document["config"].get("linux", {}).get("namespaces") or ()
    return any(each.get("type") == "pid" and not each.get("path") for each in named)


def not_running(container: str) -> NotFound:
    """containerd looks for just these three words to know that a container has ended."""
    return NotFound(f"container not running: {container}")


def _signal_everyone(document: dict[str, Any], signal: int, pid: int) -> None:
    directory = main_directory(document["cgroups"])
    if directory and signal == SIGKILL:
        kill_all(directory)
    elif directory:
        signal_all(directory, signal)
    elif pid:
        # Imported for a rootless container without a cgroup.
        from barque_runtime_native.cgroup import pid_namespace

        pid_namespace.signal_members(pid, signal)


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
            f"cannot delete container {container} that is not stopped: {told(document, status)}",
            hint="stop it first, or delete with force",
        )
    _end(store, document, status, pid)
    _remove_cgroups(document)
    leave_resctrl(document)
    store.remove()
    run_hooks("poststop", document, oci_state(document, STOPPED, pid))
    return True


def run_hooks(kind: str, document: dict[str, Any], state: dict[str, Any]) -> None:
    """Run the hooks of a kind whose failure is only logged."""
    section = Section(document["config"]).section("hooks")
    if section.values:
        # Imported for those who need it.
        from barque_runtime_native.hooks import read_hooks, run_all

        run_all(read_hooks(section).get(kind, []), state, must=False)


def _remove_cgroups(document: dict[str, Any]) -> None:
    if unit := document.get("systemd"):
        # Imported with systemd's cgroup driver only.
        from barque_runtime_native.cgroup.systemd import stop

        stop(unit)
    remove(document["cgroups"], kill=True)


def leave_resctrl(document: dict[str, Any]) -> None:
    """Remove what the container had of its own in resctrl."""
    section = Section(document["config"]).section("linux").section("intelRdt")
    if section.values:
        # Imported for those who need it.
        from barque_runtime_native.cgroup.intel_rdt import IntelRdt

        IntelRdt(section, document["id"]).remove()


def _end(store: Store, document: dict[str, Any], status: str, pid: int) -> None:
    """Kill init and whoever is left, and wait for init's end; its parent reaps it."""
    if status == STOPPED and has_pid_namespace(document):
        return  # the kernel has killed everyone; who was put into the cgroup from outside is found when that is removed
    pidfd = _open_init(store) if status in (CREATED, RUNNING) else None
    try:
        if pidfd is not None:
            syscalls.pidfd_send_signal(pidfd, SIGKILL)
        _signal_everyone(document, SIGKILL, pid)
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
