"""Files of procfs, opened below a descriptor of the runtime's own /proc.

What a container mounts or links below its /proc is never looked at (CVE-2019-16884, CVE-2025-52881): no mount may be
crossed on the way, on the host's procfs neither, and what was opened must be procfs's.
"""

from __future__ import annotations

import errno
import os

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.kernel import syscalls

PROC_SUPER_MAGIC = 0x9FA0
RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_MAGICLINKS


def open_kernel_file(procfs: int, path: str, flags: int) -> int:
    """Open `path` below /proc. Errors: OSError; FailedPrecondition when something else is mounted there."""
    try:
        fd = syscalls.openat2(procfs, path, flags, RESOLVE)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise FailedPrecondition(f"/proc/{path} is behind another mount", hint="unmount it") from error
        raise
    if syscalls.fstatfs_type(fd) != PROC_SUPER_MAGIC:
        os.close(fd)
        raise FailedPrecondition(f"/proc/{path} is not a file of procfs", hint="mount proc on /proc")
    return fd
