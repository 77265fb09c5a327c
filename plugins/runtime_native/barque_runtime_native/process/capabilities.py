"""Linux capabilities as bit masks (capabilities(7), include/uapi/linux/capability.h)."""

from __future__ import annotations

from barque_runtime_native.kernel import syscalls
from barque_runtime_native.notices import warn

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
        """Errors: InvalidArgument for what is no list of strings. The specification wants a capability that the kernel
        does not have, or would not grant, to be left out with a warning, and the rest of the container to work."""
        for name in self.SETS:
            setattr(self, name, mask(section, name))
        # capabilities(7)
        self._restrict(section, "effective", self.permitted)
        self._restrict(section, "ambient", self.permitted & self.inheritable)

    def _restrict(self, section: Section, name: str, possible: int) -> None:
        """Leave only `possible` ones in the set."""
        wanted = getattr(self, name)
        if wanted & ~possible:
            warn(
                f"{section.path(name)}: left out, not possible with the other sets: {words(wanted & ~possible)}"
            )
            setattr(self, name, wanted & possible)

    def grant_all(self, uid: int) -> None:
        """What a process has when the configuration says nothing: all for root, none for others."""
        self.bounding = ALL
        self.permitted = self.effective = 0 if uid else ALL

    def limit_to(self, available: int) -> None:
        """Forget what cannot be granted: the specification wants the rest to be applied all the same."""
        for name in self.SETS:
            setattr(self, name, getattr(self, name) & available)

    def warn_of(self, available: int) -> None:
        """Tell the user which ones the runtime cannot grant. In the runtime; in the child `limit_to` leaves them out."""
        wanted = self.bounding | self.permitted | self.inheritable
        if wanted & ~available and wanted != ALL:
            warn(f"process.capabilities: left out, not available here: {words(wanted & ~available)}")

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
    """The bit mask of a list of CAP_* names; one that the kernel headers do not know is left out with a warning."""
    result, unknown = 0, []
    for name in section.texts(key):
        number = NUMBERS.get(name)
        if number is None:
            unknown.append(name)
        else:
            result |= 1 << number
    if unknown:
        warn(f"{section.path(key)}: ignoring unknown or unavailable capabilities: {unknown}")
    return result


def words(bits: int) -> str:
    """The names of a mask, for people."""
    return " ".join(name for name, number in NUMBERS.items() if bits >> number & 1)
