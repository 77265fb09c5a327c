"""`remount`: other options for what an earlier entry of `mounts` has mounted."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.mounts import apply_options, mount_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.options import MountOptions
    from barque_runtime_native.mounts.rootfs import Root


class Remount:
    """With `bind` only that mount changes, else also the file system behind it, wherever it is mounted."""

    def __init__(self, destination: str, options: MountOptions) -> None:
        self.destination = destination
        self.options = options

    def describe(self) -> str:
        """One line for people."""
        return f"remount {self.destination}"

    def execute(self, root: Root) -> None:
        """Change it. Errors: InvalidArgument when nothing is mounted there."""
        mount = root.open(self.destination)
        try:
            if not self.options.bind:
                flags = syscalls.MS_REMOUNT | mount_flags(self.options.set) | self.options.super_set
                syscalls.mount("", f"/proc/self/fd/{mount}", "", flags, self.options.data_text)
            apply_options(mount, self.options, attributes=self.options.bind)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise InvalidArgument(
                f"{self.options.name}: cannot remount {self.destination}: nothing is mounted there, or the file system "
                "refuses an option"
            ) from error
        finally:
            os.close(mount)
