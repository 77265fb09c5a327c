"""Linux capabilities: all of them, Docker's default set, and `--cap-add`/`--cap-drop`."""

from __future__ import annotations

from collections.abc import Iterable

from barque.spi.errors import InvalidArgument

__all__ = ["ALL", "DEFAULT", "resolve"]

# In the kernel's order (include/uapi/linux/capability.h).
ALL: tuple[str, ...] = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)

DEFAULT: tuple[str, ...] = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
        "SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)


def resolve(add: Iterable[str], drop: Iterable[str], bounding: frozenset[str]) -> tuple[str, ...]:
    """The effective set: defaults, less `drop`, plus `add` (`ALL` in either).

    `ALL` means what the daemon itself may give (`bounding`). Errors: InvalidArgument for an unknown
    name, or one that the daemon's own bounding set lacks.
    """
    added, dropped = {_normal(name, "CapAdd") for name in add}, {_normal(name, "CapDrop") for name in drop}
    everything = tuple(cap for cap in ALL if cap in bounding)
    if "ALL" in added:
        chosen = set(everything) - dropped
    elif "ALL" in dropped:
        chosen = added
    else:
        chosen = (set(DEFAULT) & bounding) - dropped | added
    missing = sorted(cap for cap in added - {"ALL"} if cap not in bounding)
    if missing:
        raise InvalidArgument(
            f"invalid CapAdd: {missing[0]} is not in the daemon's own bounding set",
            hint="run the daemon where it has that capability, or leave it out",
        )
    return tuple(cap for cap in ALL if cap in chosen)


def _normal(name: str, field: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        return upper
    upper = upper if upper.startswith("CAP_") else "CAP_" + upper
    if upper not in ALL:
        raise InvalidArgument(
            f'invalid {field}: unknown capability: "{upper}"', hint="see capabilities(7) for the names"
        )
    return upper


def bounding_set(status: str) -> frozenset[str]:
    """The capabilities in `CapBnd` of the text of a /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return frozenset(cap for bit, cap in enumerate(ALL) if mask >> bit & 1)
    return frozenset()
