"""`process.apparmorProfile` and `process.selinuxLabel`: what the program is labelled with at execve."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.kernel.kernel_files import open_kernel_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

# Files that exist only while the module is at work (apparmor(7), selinux(8)).
APPARMOR = "/sys/kernel/security/apparmor/profiles"
SELINUX = "/sys/fs/selinux/enforce"
UNCONFINED = "unconfined"


class SecurityLabel:
    """The attribute file of a process and what to write to it: the kernel keeps it for the next execve, across forks."""

    __slots__ = ("field", "path", "value")

    def __init__(self, field: str, path: str, value: str) -> None:
        self.field = field
        self.path = path
        self.value = os.fsencode(value)

    def open(self, procfs: int) -> int:
        """The attribute of this very process, before anything of the container's is in sight (CVE-2019-16884)."""
        return open_kernel_file(procfs, f"self/{self.path}", os.O_WRONLY)

    def write(self, fd: int) -> None:
        """Have it set at the next execve. Errors: InvalidArgument that names the field."""
        try:
            os.write(fd, self.value)
        except OSError as error:
            raise InvalidArgument(
                f"{self.field}: the kernel refused {os.fsdecode(self.value)!r}: {(error.strerror or '').lower()}",
                hint="is the profile or label loaded?",
            ) from error


def read_label(section: Section) -> SecurityLabel | None:
    """What `process` asks for. Errors: FailedPrecondition that names field and module when that is not at work."""
    profile, label = section.text("apparmorProfile"), section.text("selinuxLabel")
    if profile and label:
        raise InvalidArgument(
            f"{section.path('apparmorProfile')} and {section.path('selinuxLabel')} are both set"
        )
    if label:
        field = section.path("selinuxLabel")
        if not os.path.exists(SELINUX):
            raise FailedPrecondition(
                f"{field}: selinux label is specified in config, but selinux is disabled or not supported",
                hint="enable SELinux on the host or unset the field",
            )
        return SecurityLabel(field, "attr/exec", label)
    if not profile:
        return None
    field = section.path("apparmorProfile")
    if not os.path.exists(APPARMOR):
        if profile == UNCONFINED:
            return None
        raise FailedPrecondition(
            f"{field}: config provided but apparmor not supported",
            hint="enable AppArmor on the host or unset the field",
        )
    return SecurityLabel(field, attribute_of_apparmor(), f"exec {profile}")


def attribute_of_apparmor() -> str:
    """Since Linux 5.8 AppArmor has a directory of its own, which other modules cannot take; before, they share one."""
    own = "attr/apparmor/exec"
    return own if os.path.exists(f"/proc/self/{own}") else "attr/exec"
