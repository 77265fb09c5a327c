"""The container's terminal: a pty of its own devpts (pts(4), ioctl_tty(2))."""

from __future__ import annotations

import os
import stat
from fcntl import ioctl
from struct import pack

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.rootfs import Root
    from barque_runtime_native.process.process import Process

DEVPTS_SUPER_MAGIC = 0x1CD1
PTMX = os.makedev(5, 2)
TIOCSCTTY, TIOCSWINSZ, TIOCSPTLCK, TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
MODE = 0o620


class Console:
    """An open pty pair."""

    def __init__(self, root: Root, process: Process) -> None:
        """Open it. The slave comes from the master itself, so no name below /dev/pts is believed."""
        try:
            self.master = root.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        except FileNotFoundError as error:
            raise FailedPrecondition(
                "process.terminal is set but /dev/pts/ptmx does not exist", hint="mount a devpts on /dev/pts"
            ) from error
        status = os.fstat(self.master)
        if syscalls.fstatfs_type(self.master) != DEVPTS_SUPER_MAGIC or not is_device(status, PTMX):
            raise FailedPrecondition(
                "/dev/pts/ptmx is not the multiplexer of a devpts", hint="mount a devpts on /dev/pts"
            )
        ioctl(self.master, TIOCSPTLCK, pack("=i", 0))
        self.slave = ioctl(self.master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if syscalls.fstatfs_type(self.slave) != DEVPTS_SUPER_MAGIC:
            raise FailedPrecondition("the other end of the terminal is not of a devpts")
        os.fchown(self.slave, process.uid, -1)
        os.fchmod(self.slave, MODE)
        if process.height or process.width:
            ioctl(self.slave, TIOCSWINSZ, pack("=4H", process.height, process.width, 0, 0))

    def bind(self, root: Root) -> None:
        """Make it /dev/console."""
        tree = syscalls.open_tree(self.slave, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
        try:
            target = root.file("/dev/console")
            try:
                syscalls.move_mount(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def take(self, *, control: bool = True) -> None:
        """Make it standard input, output and error, and with `control` the terminal of this session leader."""
        if control:
            ioctl(self.slave, TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(self.slave, number)


def is_device(status: os.stat_result, device: int) -> bool:
    """Whether `status` is of that character device."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == device
