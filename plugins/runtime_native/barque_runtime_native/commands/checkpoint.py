"""`barque-runtime checkpoint` and `restore`."""

from __future__ import annotations

import os
import shutil
import tempfile

from barque.spi.errors import InvalidArgument, NotImplemented
from barque_runtime_native import lifecycle, warm
from barque_runtime_native.commands.attached import Attached
from barque_runtime_native.commands.create import read_bundle, tell_pid
from barque_runtime_native.commands.options import Options
from barque_runtime_native.criu.checkpoint import Checkpoint
from barque_runtime_native.criu.program import MODES, CriuOptions
from barque_runtime_native.criu.restore import Restore
from barque_runtime_native.plan import Plan
from barque_runtime_native.state import Store

# options of runc that need more than criu's command line gives
REFUSED = ("lazy-pages", "status-fd", "page-server", "lsm-profile", "lsm-mount-context", "console-socket")
IMAGES = "checkpoint"


def checkpoint(root: str, options: Options) -> int:
    """Write the container's processes to files; it ends, unless told otherwise."""
    container = options.words[0]
    Store(root, container).read()
    images = os.path.abspath(options.values.get("image-path", IMAGES))
    os.makedirs(images, 0o700, exist_ok=True)
    attempt = Checkpoint(container, root, criu_options(options, images))
    attempt.leave_running = "leave-running" in options.flags
    attempt.pre_dump = "pre-dump" in options.flags
    attempt.parent = parent_of(options.values.get("parent-path", ""), images)
    attempt.run()
    if not attempt.leave_running and not attempt.pre_dump:
        lifecycle.delete(container, root, force=True)
    return 0


def restore(root: str, options: Options) -> int:
    """Make the container again; without --detach also wait for its end, and delete it."""
    container = options.words[0]
    bundle = os.path.abspath(options.values.get("bundle", ""))
    config = read_bundle(bundle)
    images = os.path.abspath(options.values.get("image-path", IMAGES))
    warm.bind()
    plan = Plan(
        container, bundle, config, no_pivot="no-pivot" in options.flags, systemd_cgroup=options.systemd_cgroup
    )
    detach = "detach" in options.flags
    attached = None if detach else Attached(subreaper="no-subreaper" not in options.flags)
    own_work = "" if options.values.get("work-path") else tempfile.mkdtemp(prefix="barque-criu-")
    try:
        pid = Restore(plan, config, root, criu_options(options, images, own_work)).run()
    finally:
        if own_work:
            shutil.rmtree(own_work)
    try:
        tell_pid(pid, options)
        return 0 if attached is None else attached.wait(pid, None)
    except BaseException:
        lifecycle.delete(container, root, force=True)
        raise
    finally:
        if attached is not None:
            lifecycle.delete(container, root, force=True)


def criu_options(options: Options, images: str, work: str = "") -> CriuOptions:
    """What both verbs have. Errors: NotImplemented that names an option that is not honoured; InvalidArgument."""
    for name in REFUSED:
        if name in options.flags or name in options.values:
            raise NotImplemented(f"--{name} is not supported by the native runtime", hint="leave it out")
    if not os.path.isdir(images):
        raise InvalidArgument(f"--image-path {images}: no such directory")
    given = options.values.get("work-path", "")
    if given:
        os.makedirs(given, 0o700, exist_ok=True)
    criu = CriuOptions(images, work=os.path.abspath(given) if given else work, program=options.criu)
    criu.keeps_log = not work
    criu.tcp_established = "tcp-established" in options.flags
    criu.external_unix = "ext-unix-sk" in options.flags
    criu.shell_job = "shell-job" in options.flags
    criu.file_locks = "file-locks" in options.flags
    criu.auto_dedup = "auto-dedup" in options.flags
    criu.manage_cgroups = options.values.get("manage-cgroups-mode", "soft")
    if criu.manage_cgroups not in MODES:
        raise InvalidArgument("Invalid manage cgroups mode: it is soft, full, strict or ignore")
    for kind in options.many.get("empty-ns", ()):
        if kind != "network":
            raise InvalidArgument(f"namespace {kind!r} is not supported by --empty-ns: only network is")
        criu.empty_network = True
    return criu


def parent_of(path: str, images: str) -> str:
    """`--parent-path`: criu wants it relative to the images. Errors: InvalidArgument, as runc."""
    if not path:
        return ""
    if os.path.isabs(path):
        raise InvalidArgument("--parent-path must be relative to --image-path")
    if not os.path.isdir(os.path.join(images, path)):
        raise InvalidArgument(f"--parent-path {path}: no such directory below {images}")
    return path
