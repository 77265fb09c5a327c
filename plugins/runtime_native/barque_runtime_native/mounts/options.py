"""The options of an OCI mount, sorted into what the kernel takes where (runtime-spec "Linux mount options", mount(8))."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls as sys_

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
# option: (flags of the file system itself to set, to clear), as mount(2) takes them
SUPERBLOCK = {
    "sync": (sys_.MS_SYNCHRONOUS, 0),
    "async": (0, sys_.MS_SYNCHRONOUS),
    "dirsync": (sys_.MS_DIRSYNC, 0),
    "mand": (sys_.MS_MANDLOCK, 0),
    "nomand": (0, sys_.MS_MANDLOCK),
    "lazytime": (sys_.MS_LAZYTIME, 0),
    "nolazytime": (0, sys_.MS_LAZYTIME),
    "iversion": (sys_.MS_I_VERSION, 0),
    "noiversion": (0, sys_.MS_I_VERSION),
}
# what fsconfig(2) calls those of the flags that it knows
FLAG_NAMES = {
    sys_.MS_SYNCHRONOUS: "sync",
    sys_.MS_DIRSYNC: "dirsync",
    sys_.MS_MANDLOCK: "mand",
    sys_.MS_LAZYTIME: "lazytime",
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
# `silent` and `loud`: whether the kernel logs what a file system complains about. Ours is an error message.
WITHOUT_EFFECT = ("defaults", "silent", "loud")


class MountOptions:
    """One mount's options. `set` to `tree_clear` are masks of MOUNT_ATTR_*, `super_set` is one of MS_*."""

    __slots__ = (
        "bind",
        "clear",
        "copy_up",
        "data",
        "idmap",
        "idmap_tree",
        "name",
        "propagation",
        "recursive",
        "remount",
        "set",
        "super_set",
        "super_words",
        "tree_clear",
        "tree_set",
    )

    def __init__(self, options: list[str], name: str, *, is_bind_type: bool = False) -> None:
        self.name = name
        self.bind = is_bind_type
        self.recursive = self.copy_up = self.remount = self.idmap = self.idmap_tree = False
        self.set = self.clear = self.tree_set = self.tree_clear = self.super_set = 0
        self.super_words: list[str] = []
        self.propagation: list[tuple[int, bool]] = []
        self.data: list[tuple[str, str | None]] = []
        for option in options:
            self._take(option)
        if self.bind:
            self._check_bind()
        if self.remount and self.copy_up:
            raise InvalidArgument(f"{name}.options: 'tmpcopyup' has no meaning for a remount")

    def _take(self, option: str) -> None:
        if option in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option]
            self.set, self.clear = self.set & ~clear | set_, self.clear & ~set_ | clear
        elif option[:1] == "r" and option[1:] in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option[1:]]
            self.tree_set, self.tree_clear = self.tree_set & ~clear | set_, self.tree_clear & ~set_ | clear
        elif option in SUPERBLOCK:
            set_, clear = SUPERBLOCK[option]
            self.super_set = self.super_set & ~clear | set_
            self.super_words.append(option)
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ("bind", "rbind"):
            self.bind, self.recursive = True, option == "rbind"
        elif option in ("idmap", "ridmap"):
            self.idmap, self.idmap_tree = True, option == "ridmap"
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option == "remount":
            self.remount = True
        elif option and option not in WITHOUT_EFFECT:
            self._take_data(option)

    def _take_data(self, option: str) -> None:
        key, separator, value = option.partition("=")
        if not key:
            raise InvalidArgument(f"{self.name}.options: {option!r} has no name before its value")
        self.data.append((key, value if separator else None))

    def _check_bind(self) -> None:
        """Errors: InvalidArgument for what belongs to a file system, which a bind mount only shows elsewhere."""
        words = [key for key, _ in self.data]
        words += [word for word in self.super_words if SUPERBLOCK[word][0] & self.super_set]
        words += ["tmpcopyup"] * self.copy_up
        if words:
            raise InvalidArgument(f"{self.name}.options: {words[0]!r} has no meaning for a bind mount")

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool(self.set & sys_.MOUNT_ATTR_RDONLY)

    @property
    def data_text(self) -> str:
        """The data as mount(2) takes it."""
        return ",".join(key if value is None else f"{key}={value}" for key, value in self.data)
