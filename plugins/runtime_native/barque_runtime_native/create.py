"""Creating a container: from a plan to an init that waits."""

from __future__ import annotations

import os
import time

from barque.spi.errors import BarqueError, ResourceExhausted
from barque_runtime_native.birth import Birth
from barque_runtime_native.cgroup.control import CgroupEntry
from barque_runtime_native.channel import (
    HOOKS,
    LISTENER,
    MAP,
    MAP_STAGE,
    OUTSIDE,
    READY,
    ParentEnd,
    make_channel,
)
from barque_runtime_native.failures import translate
from barque_runtime_native.init import Init
from barque_runtime_native.plan import Plan
from barque_runtime_native.process.child import Own
from barque_runtime_native.state import REPORT, START, Store, boot_id, live_starttime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from barque_runtime_native.seccomp.filter import Filter

SIGKILL = 9


class Creation:
    """One attempt. After `run` either a container is there, status created, or nothing is left of it."""

    def __init__(self, plan: Plan, config: dict[str, Any], root: str) -> None:
        self.plan = plan
        self.config = config
        self.root = root
        self.store = Store(root, plan.id)
        self.stdio: tuple[int, int, int] | None = None
        self.preserved = 0
        self.keyring = True
        self.find_early = False
        # called while init prepares itself: for what takes time and does not depend on it
        self.meanwhile: Callable[[], None] | None = None
        self.birth: Birth | None = None
        self.made: list[str] = []
        self.hooked = False
        self.doing = "create"

    def run(self) -> tuple[int, int | None]:
        """(pid, console). Errors: any of the tree."""
        filter_ = self._filter()
        self.doing = "writing the state"
        try:
            self.store.make(document_of(self.plan, self.config), filter_)
        except OSError as error:
            raise translate(error, self.doing) from error
        try:
            return self._run(filter_)
        except BaseException as error:
            self._undo()
            if isinstance(error, Exception):
                raise translate(error, self.doing) from error
            raise

    def _filter(self) -> Filter | None:
        if self.plan.seccomp is None:
            return None
        # Imported for those who need it: the compiler comes with ctypes.
        from barque_runtime_native.seccomp.cache import filter_for

        return filter_for(self.plan.seccomp, self.root)

    def _run(self, filter_: Filter | None) -> tuple[int, int | None]:
        start, report = make_fifos(self.store)
        try:
            self.doing = "making the cgroup"
            self.made = self.plan.cgroup.create()
            own = Own()
            parent, child = make_channel()
            try:
                self.birth = Birth(self.plan, own)
                self.birth.check()
                if not self.plan.namespaces.own("user"):
                    self.plan.process.capabilities.warn_of(own.permitted & own.bounding)
                init = Init(self.plan, own, child, self._entry(), filter_)
                init.start, init.report = start, report
                init.stdio, init.preserved = self.stdio, self.preserved
                init.keyring, init.find_early = self.keyring, self.find_early
                self.birth.clone(init)
                child.close()
                if self.meanwhile:
                    self.meanwhile()
                return self._follow(parent, self.birth)
            finally:
                parent.close()
                child.close()
                own.close()
        finally:
            self.plan.cgroup.release()
            os.close(start)
            os.close(report)

    def _entry(self) -> CgroupEntry:
        self.doing = "opening the cgroup"
        return CgroupEntry(
            list(self.plan.cgroup.directories.values()), unified=self.plan.cgroup.layout.unified
        )

    def _follow(self, parent: ParentEnd, birth: Birth) -> tuple[int, int | None]:
        """Answer init's requests until it is ready, then record it."""
        while True:
            self.doing = "start of init"
            letter = parent.next()
            if letter == MAP_STAGE:
                birth.map_stage()
                parent.answer()
                continue
            birth.settle()
            if letter == MAP:
                birth.prepare_user()
                parent.answer()
            elif letter == OUTSIDE and self.plan.outside:
                self.plan.outside.apply(birth.pid)
                parent.answer()
            elif letter == LISTENER and self.plan.agent:
                state = self.plan.state(birth.pid, "creating")
                self.plan.agent.hand_over(birth.pid, int(parent.payload), state)
                parent.answer()
            elif letter == HOOKS:
                self._run_hooks(birth.pid)
                parent.answer(str(birth.pid).encode())
            elif letter == READY:
                break
            else:
                raise self._ended()
        starttime = live_starttime(birth.pid)
        if starttime is None:
            raise self._ended()
        self.store.write_init(birth.pid, starttime)
        parent.answer(str(birth.pid).encode())
        return birth.pid, parent.take_console()

    def _run_hooks(self, pid: int) -> None:
        from barque_runtime_native.hooks import run_all

        self.hooked = True
        state = self.plan.state(pid, "creating")
        run_all(self.plan.hooks.get("prestart", []), state)
        run_all(self.plan.hooks.get("createRuntime", []), state)

    def _ended(self) -> BarqueError:
        """Why init is gone without a word."""
        limit = " (linux.resources.memory.limit)" if "memory" in self._limited() else ""
        return ResourceExhausted(
            "the container's init was killed before it was ready", hint=f"is the memory limit too low{limit}?"
        )

    def _limited(self) -> set[str]:
        return {setting.controller for setting in self.plan.cgroup.settings}

    def _undo(self) -> None:
        """Kill and reap init, remove cgroups and state. A failure here must not hide the first one."""
        if self.birth:
            self.birth.settle()
        if self.plan.outside:
            self.plan.outside.undo()
        if self.birth and self.birth.pid:
            end_child(self.birth.pid)
        try:
            self.plan.cgroup.undo(self.made)
            self.store.remove()
        except (OSError, BarqueError):
            return
        if self.hooked:
            from barque_runtime_native.hooks import run_all

            run_all(self.plan.hooks.get("poststop", []), self.plan.state(0, "stopped"), must=False)


def end_child(pid: int) -> None:
    """Kill and reap a child of ours that became no container process."""
    try:
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # the caller has its children reaped by the kernel


def make_fifos(store: Store) -> tuple[int, int]:
    """Init's ends: `start` is open for reading and writing, so a read waits; of `report` only the writing end."""
    os.mkfifo(store.path(START), 0o600)
    os.mkfifo(store.path(REPORT), 0o600)
    start = os.open(store.path(START), os.O_RDWR | os.O_CLOEXEC)
    try:
        reader = os.open(store.path(REPORT), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return start, os.open(store.path(REPORT), os.O_WRONLY | os.O_CLOEXEC)
        finally:
            os.close(reader)
    except BaseException:
        os.close(start)
        raise


def created_at(nanoseconds: int) -> str:
    """A time as RFC 3339 writes it, with all its digits."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def document_of(plan: Plan, config: dict[str, Any]) -> dict[str, Any]:
    """What state.json holds."""
    linux = {key: value for key, value in config.get("linux", {}).items() if key != "seccomp"}
    if plan.agent:
        linux["seccomp"] = {"listenerPath": plan.agent.path, "listenerMetadata": plan.agent.metadata}
    return {
        "id": plan.id,
        "bundle": plan.bundle,
        "boot": boot_id(),
        "creator": [os.getpid(), live_starttime(os.getpid())],
        "created": created_at(time.time_ns()),
        "rootfs": plan.root.path,
        "cgroups": list(plan.cgroup.directories.values()),
        "unified": plan.cgroup.layout.unified,
        "systemd": plan.cgroup.unit,
        "config": {**config, "linux": linux},
    }
