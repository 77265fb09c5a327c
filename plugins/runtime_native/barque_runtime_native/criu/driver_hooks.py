"""`runtime_checkpoint` and `runtime_restore` of the driver. Imported when they are called."""

from __future__ import annotations

import os
import shutil
import tempfile

from barque_runtime_native.criu.checkpoint import Checkpoint
from barque_runtime_native.criu.program import CriuOptions
from barque_runtime_native.criu.restore import Restore
from barque_runtime_native.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.spi.runtime import RuntimeCheckpoint, RuntimeCreate


def checkpoint(request: RuntimeCheckpoint) -> None:
    """See `RuntimeHooks`."""
    work = tempfile.mkdtemp(prefix="barque-criu-")
    options = CriuOptions(request.directory, work=work)
    options.keeps_log = False
    options.tcp_established = request.tcp_established
    options.external_unix = request.external_unix
    options.shell_job = request.shell_job
    options.file_locks = request.file_locks
    attempt = Checkpoint(request.id, request.root, options)
    attempt.leave_running = request.leave_running
    try:
        attempt.run()
    except BaseException:
        for name in os.listdir(request.directory):
            os.unlink(os.path.join(request.directory, name))
        raise
    finally:
        shutil.rmtree(work)


def restore(request: RuntimeCreate, directory: str) -> int:
    """See `RuntimeHooks`; the pid of init."""
    work = tempfile.mkdtemp(prefix="barque-criu-")
    options = CriuOptions(directory, work=work)
    options.keeps_log = False
    # what the checkpoint allowed is in the images; criu wants to be told again
    options.tcp_established = options.external_unix = options.shell_job = options.file_locks = True
    config = dict(request.spec)
    attempt = Restore(Plan(request.id, request.bundle, config), config, request.root, options)
    if request.stdio:
        attempt.stdio = (request.stdio.stdin, request.stdio.stdout, request.stdio.stderr)
    try:
        return attempt.run()
    finally:
        shutil.rmtree(work)
