"""Linux capabilities as bit masks (capabilities(7), include/uapi/linux/capability.h)."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_runtime_native import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}
SYS_ADMIN = NUMBERS["CAP_SYS_ADMIN"]
SYS_RESOURCE = NUMBERS["CAP_SYS_RESOURCE"]
ALL = (1 << len(NAMES)) - 1


class CapabilitySets:
    """The five sets a process ends up with."""

    SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")

    bounding: int
    permitted: int
    effective: int
    inheritable: int
    ambient: int

    def __init__(self, section: Section) -> None:
        for name in self.SETS:
            setattr(self, name, mask(section, name))
        # The kernel grants no others (capabilities(7)), and the specification wants the rest of the container to work.
        self.ambient &= self.permitted & self.inheritable
        if self.effective & ~self.permitted:
            raise InvalidArgument(f"{section.path('effective')} holds a capability that is not permitted")

    def grant_all(self, uid: int) -> None:
        """What a process has when the configuration says nothing: all for root, none for others."""
        self.bounding = ALL
        self.permitted = self.effective = 0 if uid else ALL

    def limit_to(self, available: int) -> None:
        """Forget what cannot be granted: the specification wants the rest to be applied all the same."""
        for name in self.SETS:
            setattr(self, name, getattr(self, name) & available)

    def drop_bounding(self, available: int) -> None:
        """Leave only the bounding set. Needs CAP_SETPCAP."""
        for number in range(64):
            if available >> number & 1 and not self.bounding >> number & 1:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)

    def apply(self, keep: int = 0) -> None:
        """Set the other sets; `keep` stays effective and permitted until the next call."""
        syscalls.capset(self.effective | keep, self.permitted | keep, self.inheritable)
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
        for number in range(len(NAMES)):
            if self.ambient >> number & 1:
                syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)


def mask(section: Section, key: str) -> int:
    """The bit mask of a list of CAP_* names. Errors: InvalidArgument for a name the kernel headers do not know."""
    result = 0
    for name in section.texts(key):
        number = NUMBERS.get(name)
        if number is None:
            raise InvalidArgument(f"{section.path(key)}: unknown capability {name!r}")
        result |= 1 << number
    return result
