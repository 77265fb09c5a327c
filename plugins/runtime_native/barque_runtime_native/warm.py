"""What the first container would otherwise pay for, and what a child may no longer do after the clone."""

from __future__ import annotations

import errno
import os
from _ctypes import get_errno

from barque.spi.errors import BarqueError
from barque_runtime_native.cgroup.layout import current_layout
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.kernel.syscall_table import bind_all
from barque_runtime_native.process.child import Own

_done = False


def bind() -> None:
    """The part that every command that clones needs."""
    bind_all()
    use_in_advance()


def preload() -> None:
    """Bind all prototypes, load libseccomp, read the cgroup layout. Safe without privilege and any number of times."""
    global _done
    if _done:
        return
    bind()
    import_common()
    for warm in (current_layout, load_seccomp):
        try:
            warm()
        except (BarqueError, OSError):
            continue  # named when a container needs it
    _done = True


def import_common() -> None:
    """Import what a container of an engine's mostly asks for, and a cold command for those only that do."""
    from barque_runtime_native import create, execute, hooks, late_birth, lifecycle  # noqa: F401
    from barque_runtime_native.cgroup import mounts, runtime_stats, stats, update  # noqa: F401
    from barque_runtime_native.commands import spec  # noqa: F401
    from barque_runtime_native.process import console, scheduling, sysctl  # noqa: F401
    from barque_runtime_native.seccomp import flags, verdict  # noqa: F401


def rehearse() -> None:
    """Go through the planning of a container on nothing: a process that was forked pays for each page it first writes to,
    and CPython writes to every object it looks at. For a process that waits for its container. Changes nothing."""
    from barque_runtime_native.commands.spec import example
    from barque_runtime_native.create import document_of
    from barque_runtime_native.jsontext import dumps
    from barque_runtime_native.plan import Plan

    config = example(terminal=False)
    config["root"]["path"] = "/usr"
    plan = Plan("rehearsal", "/", config)
    dumps(document_of(plan, config))
    use_in_advance()


def rehearse_exec(container: str, root: str) -> None:
    """`rehearse` for a process that waits for an exec in `container`: everything that only reads."""
    from barque_runtime_native.cgroup.control import CgroupEntry, exec_directories, is_frozen, main_directory
    from barque_runtime_native.execute import Execution
    from barque_runtime_native.state import status_of

    execution = Execution(container, root, {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}})
    status_of(execution.store, execution.document)
    init = execution.store.read_init()
    is_frozen(main_directory(execution.cgroups))
    unified = execution.document["unified"]
    execution.store.read_filter()
    CgroupEntry(
        exec_directories(execution.cgroups, init[0] if init else 0, unified=unified), unified=unified
    ).close()
    use_in_advance()


def load_seccomp() -> None:
    """Load libseccomp; only containers with a filter need it."""
    from barque_runtime_native.seccomp import cache as seccomp_cache  # noqa: F401 - both, for who forks containers
    from barque_runtime_native.seccomp import compiler as seccomp

    seccomp.load_library()


def use_in_advance() -> None:
    """Run what the child will run and what CPython sets up on first use."""
    get_errno()
    Own().close()
    syscalls.getcwd()
    os.strerror(errno.ENOENT)
    for codec in ("utf-8", "ascii"):
        "x".encode(codec).decode(codec, "replace")
