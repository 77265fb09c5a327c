"""One value of one control file: written, and put back."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import (
    BarqueError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from barque_runtime_native.cgroup.layout import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

UNLIMITED = ("-1", "max")
KERNEL_MEMORY = "memory.kmem.limit_in_bytes"
_CLASSES: dict[int, type[BarqueError]] = {
    errno.EBUSY: ResourceExhausted,
    errno.EAGAIN: ResourceExhausted,
    errno.ENOMEM: ResourceExhausted,
    errno.ENOSPC: ResourceExhausted,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.EOPNOTSUPP: FailedPrecondition,
    errno.ENODEV: FailedPrecondition,
}


class Setting:
    """One value for one control file; `field` is the member of the configuration that asked for it.

    `other` is a file and value to use where the kernel lacks `file` (the BFQ scheduler has files of its own).
    `reset` belongs to a file with a line for each key: the value that takes back what `value` says of its key.
    `optional`: a kernel without the file enforces the same by another one.
    """

    __slots__ = ("controller", "field", "file", "optional", "other", "reset", "value")

    def __init__(
        self, controller: str, file: str, value: object, field: str, other: tuple[str, object] | None = None,
        *, reset: str = "", optional: bool = False,
    ) -> None:  # fmt: skip
        self.controller = controller
        self.file = file
        self.value = str(value)
        self.field = field
        self.other = other
        self.reset = reset
        self.optional = optional

    def describe(self) -> str:
        """One line for people."""
        return f"cgroup {self.file} = {self.value}"

    def unlimited(self) -> bool:
        """Whether it asks for no limit: met where the controller or the file is not there."""
        return self.value in UNLIMITED

    def execute(self, directory: str) -> None:
        """Write it. Errors: one of the tree that names the field."""
        try:
            fd = os.open(f"{directory}/{self.file}", os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if self.other:
                self.substitute().execute(directory)
            elif not self.optional and not self.unlimited():
                raise FailedPrecondition(
                    f"{self.field} is set but this kernel has no {self.file}",
                    hint="remove it, or enable it in the kernel",
                ) from error
            return
        except OSError as error:
            raise self._refused(directory, error) from error
        try:
            os.write(fd, self.value.encode() or b"\n")
        except OSError as error:
            raise self._refused(directory, error) from error
        finally:
            os.close(fd)
        if self.file == KERNEL_MEMORY and not self.unlimited():
            self._check_effect(directory)

    def _check_effect(self, directory: str) -> None:
        """Linux has no limit of kernel memory alone since 5.16, but the file is there and takes what is written."""
        if int(read_text(f"{directory}/{self.file}")) > int(self.value):
            raise FailedPrecondition(
                f"{self.field} is set but this kernel does not limit kernel memory alone",
                hint="remove it: kernel memory counts as memory.limit",
            )

    def substitute(self) -> Setting:
        """This setting by the other file."""
        file, value = self.other or (self.file, self.value)
        return Setting(self.controller, file, value, self.field, reset=self.reset)

    def _refused(self, directory: str, error: OSError) -> BarqueError:
        number = error.errno or 0
        text = f"{self.field}: failed to write {self.value!r} to {self.file}: {os.strerror(number).lower()}"
        if number == errno.EBUSY and self.file == "memory.limit_in_bytes":
            usage, peak = (
                read_text(f"{directory}/memory.{file}").strip()
                for file in ("usage_in_bytes", "max_usage_in_bytes")
            )
            text = f"{self.field}: unable to set memory limit to {self.value} (current usage: {usage}, peak usage: {peak})"
        return _CLASSES.get(number, InvalidArgument)(text, hint=self._remedy(number))

    def _remedy(self, number: int) -> str:
        if number == errno.EINVAL and self.file == "cpu.rt_runtime_us":
            return "give the parent cgroup real-time runtime first, and stay below it"
        if number == errno.EOPNOTSUPP and ".bfq." in self.file:
            return "give the disk the scheduler bfq: echo bfq >/sys/block/NAME/queue/scheduler"
        if number == errno.EOPNOTSUPP and self.file == "io.weight":
            return "give the disk the scheduler bfq, or a cost model in io.cost.qos"
        if number == errno.ENODEV:
            return "name a whole disk that exists"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return "the cgroup is not delegated to this user"
        return ""

    def inverse(self, directory: str) -> Setting | None:
        """What puts the present value back; None when there is no such file."""
        try:
            text = read_text(f"{directory}/{self.file}")
        except FileNotFoundError:
            return self.substitute().inverse(directory) if self.other else None
        value = text.strip()
        if self.reset:
            key = self.value.split()[0] + " "
            value = next((line for line in text.splitlines() if line.startswith(key)), self.reset)
        elif self.file == "memory.oom_control":
            value = text.split()[1]
        elif value.startswith("default "):
            value = value.split()[1]
        return Setting(self.controller, self.file, value, self.field)


def apply(settings: list[Setting], directory_of: Callable[[str], str]) -> None:
    """Write all. The kernel checks some files against others (a limit against memory and swap, a burst against a
    quota): what it refuses as invalid is tried again after the rest, as long as that gets anywhere.

    Errors: of the first that stays refused; the others may have been written.
    """
    waiting = settings
    while waiting:
        refused: list[tuple[Setting, InvalidArgument]] = []
        for setting in waiting:
            try:
                setting.execute(directory_of(setting.controller))
            except InvalidArgument as error:
                refused.append((setting, error))
        if len(refused) == len(waiting):
            raise refused[0][1]
        waiting = [setting for setting, _ in refused]
