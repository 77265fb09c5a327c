"""What the stage before init does: enter and make namespaces in the order that privilege demands.

First all that the runtime's own privilege is enough for; then the user namespace; then, with the power over that, the
rest. A namespace that is made afterwards belongs to the user namespace.
"""

from __future__ import annotations

import os

from barque_runtime_native.channel import MAP_STAGE
from barque_runtime_native.failures import translate
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces.mappings import same_ids
from barque_runtime_native.namespaces.namespaces import not_matching, split
from barque_runtime_native.namespaces.stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.init import Init

MAX_MAP = 1 << 16


class Joining:
    """The `Entrance` of init."""

    def __init__(self, init: Init, targets: list[tuple[int, int]]) -> None:
        """`targets`: what `open_paths` has opened, without the mount namespace, which init enters."""
        self.init = init
        self.namespaces = init.plan.namespaces
        self.users, self.others = split(targets, syscalls.CLONE_NEWUSER)
        self.doing = "linux.namespaces"

    def stage(self) -> Stage:
        """The stage that does it."""
        return Stage(self, self._clone)

    def _clone(self) -> int:
        self.doing = "clone"
        flags = self.namespaces.clone_flags & ~syscalls.CLONE_NEWUSER | syscalls.CLONE_PARENT
        return syscalls.clone3(flags, self.init.entry.born_in, exit_signal=0)

    def main(self) -> None:
        """See `Entrance`."""
        self.init.main()

    def fail(self, error: BaseException) -> None:
        """See `Entrance`."""
        self.init.channel.fail(translate(error, self.doing))

    def enter_early(self) -> None:
        """See `Entrance`."""
        self.init.adjust_oom_score()
        # Opened by whoever has the power over the new namespace, while these files are still this user's.
        offsets = self._open("timens_offsets", os.O_WRONLY) if self.namespaces.time_offsets else -1
        if self.users:
            # before anybody in that namespace could trace this process
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        postponed = self._join_what_is_allowed()
        self._enter_user_namespace()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        for fd, flag in postponed:
            syscalls.setns(fd, flag)
        if "time" in self.namespaces.new:
            self.doing = "linux.timeOffsets"
            syscalls.unshare(syscalls.CLONE_NEWTIME)
            if offsets >= 0:
                os.write(offsets, self.namespaces.time_offsets.encode())
                os.close(offsets)

    def _join_what_is_allowed(self) -> list[tuple[int, int]]:
        """Join what the runtime's own privilege is enough for; returns the rest."""
        postponed = []
        for fd, flag in self.others:
            try:
                syscalls.setns(fd, flag)
            except PermissionError:
                postponed.append((fd, flag))
        return postponed

    def _enter_user_namespace(self) -> None:
        if self.namespaces.user:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            self.init.channel.request(MAP_STAGE)
        for fd, flag in self.users:
            syscalls.setns(fd, flag)
            self._compare("uid_map", "uidMappings")
            self._compare("gid_map", "gidMappings")

    def _compare(self, file: str, key: str) -> None:
        wanted = self.namespaces.uid_map if file == "uid_map" else self.namespaces.gid_map
        if not wanted:
            return
        fd = self._open(file, os.O_RDONLY)
        try:
            text = os.read(fd, MAX_MAP).decode("ascii", "replace")
        finally:
            os.close(fd)
        if not same_ids(text, wanted):
            raise not_matching(f"linux.{key}")

    def _open(self, file: str, flags: int) -> int:
        return os.open(f"self/{file}", flags | os.O_CLOEXEC, dir_fd=self.init.own.procfs)
