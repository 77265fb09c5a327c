"""The options of an OCI mount, sorted into what the kernel takes where (runtime-spec "Linux mount options")."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_runtime_native import syscalls as sys_

# option: (attributes to set, attributes to clear); with a leading "r" the same for the whole tree
ATTRIBUTES = {
    "ro": (sys_.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, sys_.MOUNT_ATTR_RDONLY),
    "nosuid": (sys_.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, sys_.MOUNT_ATTR_NOSUID),
    "nodev": (sys_.MOUNT_ATTR_NODEV, 0),
    "dev": (0, sys_.MOUNT_ATTR_NODEV),
    "noexec": (sys_.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, sys_.MOUNT_ATTR_NOEXEC),
    "nodiratime": (sys_.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, sys_.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (sys_.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, sys_.MOUNT_ATTR_NOSYMFOLLOW),
    # the access time modes are one field of which exactly one value is set
    "relatime": (0, sys_.MOUNT_ATTR__ATIME),
    "norelatime": (sys_.MOUNT_ATTR_STRICTATIME, sys_.MOUNT_ATTR__ATIME),
    "noatime": (sys_.MOUNT_ATTR_NOATIME, sys_.MOUNT_ATTR__ATIME),
    "atime": (0, sys_.MOUNT_ATTR__ATIME),
    "strictatime": (sys_.MOUNT_ATTR_STRICTATIME, sys_.MOUNT_ATTR__ATIME),
    "nostrictatime": (0, sys_.MOUNT_ATTR__ATIME),
}
PROPAGATION = {
    "shared": (sys_.MS_SHARED, False),
    "rshared": (sys_.MS_SHARED, True),
    "slave": (sys_.MS_SLAVE, False),
    "rslave": (sys_.MS_SLAVE, True),
    "private": (sys_.MS_PRIVATE, False),
    "rprivate": (sys_.MS_PRIVATE, True),
    "unbindable": (sys_.MS_UNBINDABLE, False),
    "runbindable": (sys_.MS_UNBINDABLE, True),
}
IGNORED = ("defaults", "loud", "iversion", "noiversion")
REFUSED = ("remount", "idmap", "ridmap", "acl", "noacl")


class MountOptions:
    """One mount's options. Bit masks are MOUNT_ATTR_*."""

    __slots__ = (
        "bind",
        "clear",
        "copy_up",
        "data",
        "propagation",
        "recursive",
        "set",
        "tree_clear",
        "tree_set",
    )

    def __init__(self, options: list[str], name: str, *, is_bind_type: bool = False) -> None:
        self.bind = is_bind_type
        self.recursive = False
        self.copy_up = False
        self.set = self.clear = self.tree_set = self.tree_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.data: list[tuple[str, str | None]] = []
        for option in options:
            self._take(option, name)
        if self.bind and self.data:
            raise InvalidArgument(f"{name}.options: {self.data[0][0]!r} has no meaning for a bind mount")

    def _take(self, option: str, name: str) -> None:
        if option in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option]
            self.set, self.clear = self.set & ~clear | set_, self.clear & ~set_ | clear
        elif option[:1] == "r" and option[1:] in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option[1:]]
            self.tree_set, self.tree_clear = self.tree_set & ~clear | set_, self.tree_clear & ~set_ | clear
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ("bind", "rbind"):
            self.bind, self.recursive = True, option == "rbind"
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option in REFUSED:
            raise InvalidArgument(
                f"{name}.options: {option!r} is not supported by the native runtime", hint="remove it"
            )
        elif option and option not in IGNORED:
            self._take_data(option)

    def _take_data(self, option: str) -> None:
        key, separator, value = option.partition("=")
        self.data.append((key, value if separator else None))

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool(self.set & sys_.MOUNT_ATTR_RDONLY)
