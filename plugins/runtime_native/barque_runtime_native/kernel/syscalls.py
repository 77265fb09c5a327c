"""The kernel calls that the `os` module lacks, each wrapped once under the kernel's name.

Every wrapper raises OSError with the errno on failure and never closes or keeps what it is given. Calls go through
what `ctypes.PyDLL` is made of, which keeps the interpreter lock: after `clone3` the child must find it held, as it was.
Sources: the section-2 man pages.
"""

from __future__ import annotations

import os
import sys
from _ctypes import addressof, byref
from struct import pack

from barque_runtime_native.kernel.syscall_table import buffer, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 0x200000000
SIGCHLD = 17

MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_I_VERSION = 0x800000
MS_LAZYTIME = 0x2000000
MS_MOVE = 0x2000
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

SECCOMP_SET_MODE_FILTER = 1

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

KEYCTL_JOIN_SESSION_KEYRING = 1
CLOSE_RANGE_CLOEXEC = 4
SIG_UNBLOCK, SIG_SETMASK = 1, 2


# Processes and namespaces


def clone3(flags: int, cgroup: int = -1, exit_signal: int = SIGCHLD) -> int:
    """A child in new namespaces; 0 in the child. `cgroup`: an fd of a v2 directory to be born in (CLONE_INTO_CGROUP)."""
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    return call("clone3", pack("=11Q", flags, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0)), 88)


def setns(fd: int, kinds: int) -> None:
    """Enter the namespace `fd` is of, or those `kinds` of the process whose pidfd it is."""
    call("setns", fd, kinds)


def unshare(flags: int) -> None:
    """Leave the shared namespaces that `flags` name for new ones."""
    call("unshare", flags)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Signal exactly the process behind `pidfd`."""
    call("pidfd_send_signal", pidfd, signal, None, 0)


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2)."""
    return call("prctl", option, a, b, c, d)


def rt_sigaction_default(signal: int) -> None:
    """Give `signal` its default disposition; all-zero `struct sigaction` is SIG_DFL with an empty mask."""
    call("rt_sigaction", signal, bytes(32), None, 8)


def rt_sigprocmask(mask: int) -> int:
    """Set the blocked signals (bit n-1 is signal n); returns what was blocked before."""
    before = buffer(8)
    call("rt_sigprocmask", SIG_SETMASK, pack("=Q", mask), byref(before), 8)
    return int.from_bytes(before.raw, sys.byteorder)


def signalfd4(mask: int) -> int:
    """A descriptor to read the signals in `mask` from, 128 bytes each, the number in the first four."""
    return call("signalfd4", -1, pack("=Q", mask), 8, os.O_CLOEXEC | os.O_NONBLOCK)


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close descriptors `first` to `last`, or mark them close-on-exec."""
    call("close_range", first, last, flags)


def keyctl_join_session_keyring(name: str) -> None:
    """Replace the session keyring by a new one called `name`."""
    call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, os.fsencode(name))


def prlimit64(pid: int, resource: int, soft: int, hard: int) -> None:
    """Set a resource limit; RLIM_INFINITY is 2**64-1."""
    call("prlimit64", pid, resource, pack("=2Q", soft, hard), None)


def ioprio_set(value: int) -> None:
    """Set this process's input/output priority."""
    call("ioprio_set", 1, 0, value)


def sched_setattr(attributes: bytes) -> None:
    """Set this process's scheduler from a packed `struct sched_attr`."""
    call("sched_setattr", 0, attributes, 0)


def personality(persona: int) -> None:
    """Set the execution domain."""
    call("personality", persona)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capability sets, as bit masks (version 3 of the interface)."""
    words = (effective, permitted, inheritable)
    low, high = [w & 0xFFFFFFFF for w in words], [w >> 32 for w in words]
    call("capset", pack("=Ii", 0x20080522, 0), pack("=6I", *low, *high))


def setgroups(groups: list[int]) -> None:
    """Set the supplementary groups. Unlike glibc's, this and the next two never signal other threads."""
    call("setgroups", len(groups), pack(f"={len(groups)}I", *groups))


def setresgid(gid: int) -> None:
    """Set the real, effective and saved group."""
    call("setresgid", gid, gid, gid)


def setresuid(uid: int) -> None:
    """Set the real, effective and saved user."""
    call("setresuid", uid, uid, uid)


def seccomp_set_mode_filter(program: Any, flags: int) -> int:
    """Install a classic BPF program (8 bytes an instruction, in a `buffer`) as seccomp filter; its listener, if asked for."""
    return call("seccomp", SECCOMP_SET_MODE_FILTER, flags, pack("@HP", len(program) // 8, addressof(program)))


def bpf(command: int, attributes: Any) -> int:
    """bpf(2) with the packed `union bpf_attr`."""
    return call("bpf", command, byref(attributes), len(attributes))


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    data = os.fsencode(name)
    call("sethostname", data, len(data))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    data = os.fsencode(name)
    call("setdomainname", data, len(data))


def getcwd() -> str:
    """The kernel's own answer: starts with `(unreachable)` outside the root, and glibc's walk upwards never happens."""
    answer = buffer(4096)
    call("getcwd", byref(answer), 4096)
    return os.fsdecode(answer.value)


# Files and mounts


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open `path` below `directory` under RESOLVE_* rules; tried again when a rename elsewhere made the kernel unsure."""
    how = pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _ in range(64):
        try:
            return call("openat2", directory, name, how, 24)
        except BlockingIOError:
            continue
    return call("openat2", directory, name, how, 24)


def fstatfs_type(fd: int) -> int:
    """The file system's magic number."""
    answer = buffer(120)
    call("fstatfs", fd, byref(answer))
    return int.from_bytes(answer.raw[:8], sys.byteorder)


def mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    call("mount", os.fsencode(source), os.fsencode(target), fstype.encode(), flags, os.fsencode(data))


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    call("umount2", os.fsencode(target), flags)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    call("pivot_root", os.fsencode(new), os.fsencode(old))


def open_tree(directory: int, path: str, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it."""
    return call("open_tree", directory, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(source: int, target: int) -> None:
    """Attach the mount behind `source` on top of what `target` is."""
    call("move_mount", source, b"", target, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_setattr(
    fd: int, *, set_: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False, userns: int = 0
) -> None:
    """Change attributes of the mount behind `fd`, atomically for the whole tree with `recursive`."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("mount_setattr", fd, b"", flags, pack("=4Q", set_, clear, propagation, userns), 32)


def fsopen(fstype: str) -> int:
    """Begin a new file system; configure it with `fsconfig`."""
    return call("fsopen", fstype.encode(), 1)


def fsconfig_flag(fd: int, key: str) -> None:
    """Set an option without a value."""
    call("fsconfig", fd, FSCONFIG_SET_FLAG, key.encode(), None, 0)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Set an option with a value."""
    call("fsconfig", fd, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def fsconfig_create(fd: int) -> None:
    """Create the superblock from what was configured."""
    call("fsconfig", fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int, attributes: int) -> int:
    """A detached mount of the file system that `fd` configured."""
    return call("fsmount", fd, 1, attributes)
