"""`--security-opt label=…`: SELinux labels of a container, where SELinux is at work.

The parts that are not given are those of the host's container policy (selinux_lxc_contexts(5)).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from barque.spi.errors import FailedPrecondition, InvalidArgument

__all__ = ["active", "check_label_options", "mount_label", "process_label"]

_PARTS = ("user", "role", "type", "level")
_POLICY = Path("/etc/selinux/config")
_STATE = "/sys/fs/selinux/enforce"


def active() -> bool:
    """Whether this kernel enforces or watches a policy."""
    return os.path.exists(_STATE)


def check_label_options(options: Sequence[str]) -> None:
    """Errors: InvalidArgument for an option that SELinux does not have."""
    for option in options:
        name, _, value = option.replace("=", ":", 1).partition(":")
        if option != "disable" and (name not in (*_PARTS, "filetype") or not value):
            raise InvalidArgument(
                f"bad label option {option!r}, valid options 'disable' or 'user, role, level, type, filetype' followed by ':' and a value"
            )


def process_label(options: Sequence[str]) -> str:
    """The label of the container's processes; empty without SELinux or with `disable`. Errors: FailedPrecondition."""
    return _label(options, "process", _PARTS)


def mount_label(options: Sequence[str]) -> str:
    """The label of its files, likewise; only level and `filetype` are the user's choice."""
    return _label(options, "file", ("level", "filetype"))


def _label(options: Sequence[str], kind: str, allowed: Sequence[str]) -> str:
    if "disable" in options or not options or not active():
        return ""
    parts = dict(zip(_PARTS, _policy_context(kind).split(":", 3), strict=True))
    for option in options:
        name, _, value = option.replace("=", ":", 1).partition(":")
        if name in allowed:
            parts["type" if name == "filetype" else name] = value
    return ":".join(parts[name] for name in _PARTS)


def _policy_context(kind: str) -> str:
    """`process = "system_u:system_r:container_t:s0"` in the policy's lxc_contexts."""
    policy = _assignments(_POLICY).get("SELINUXTYPE", "targeted")
    path = _POLICY.parent / policy / "contexts" / "lxc_contexts"
    context = _assignments(path).get(kind, "")
    if context.count(":") < 3:
        raise FailedPrecondition(
            f"the SELinux policy {policy} says nothing of containers", hint="install container-selinux"
        )
    return context


def _assignments(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}
