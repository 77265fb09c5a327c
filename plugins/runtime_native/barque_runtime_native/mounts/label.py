"""`linux.mountLabel`: the SELinux context of the files on mounts that have no labels of their own (mount(8), `context=`)."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition

ENFORCE = "/sys/fs/selinux/enforce"
# These have labels by policy; a cgroup's, and a bind mount's, are those of the host.
OWN_LABELS = frozenset(("proc", "sysfs", "cgroup", "cgroup2"))


def check_label(label: str) -> None:
    """Errors: FailedPrecondition where SELinux is not at work."""
    if label and not os.path.exists(ENFORCE):
        raise FailedPrecondition(
            "linux.mountLabel is set but SELinux is not enabled on this host",
            hint="leave it out, or boot with SELinux",
        )


def label_option(
    label: str, fstype: str, given: list[tuple[str, str | None]]
) -> list[tuple[str, str | None]]:
    """The option that labels a new file system, unless its type or its own options `given` say otherwise."""
    if not label or fstype in OWN_LABELS or any(key == "context" for key, _ in given):
        return []
    return [("context", label)]
