"""`barque-runtime features` (runtime-spec "Features Structure").

What can be asked of the code is asked of it and not written down here a second time: a field is supported when the
code that reads configurations does not refuse it.
"""

from __future__ import annotations

import errno

from barque.spi.errors import BarqueError
from barque_runtime_native.commands.options import Options
from barque_runtime_native.hooks import KINDS as HOOKS
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.kernel.syscall_table import call
from barque_runtime_native.kernel.syscalls import SECCOMP_SET_MODE_FILTER
from barque_runtime_native.mounts.options import ATTRIBUTES, PROPAGATION, MountOptions
from barque_runtime_native.namespaces.namespaces import KINDS as NAMESPACES
from barque_runtime_native.process.capabilities import NUMBERS
from barque_runtime_native.process.memory_policy import FLAGS as POLICY_FLAGS
from barque_runtime_native.process.memory_policy import MODES
from barque_runtime_native.seccomp.compiler import (
    ACTIONS,
    ARCHITECTURES,
    OPERATORS,
    load_library,
    read_action,
)
from barque_runtime_native.seccomp.filter import NEW_LISTENER
from barque_runtime_native.seccomp.flags import FLAG_WAIT_KILLABLE_RECV, FLAGS
from barque_runtime_native.spec import Section, refuse_unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST, NEWEST = "1.0.0", "1.2.0"
# words of the specification beyond flags and propagation, and what they need to be tried with
OTHER_OPTIONS = ("async", "bind", "defaults", "dirsync", "idmap", "iversion", "lazytime", "loud", "mand", "noiversion",
                 "nolazytime", "nomand", "rbind", "remount", "ridmap", "silent", "sync", "tmpcopyup")  # fmt: skip
RUNTIME = "org.barque.runtime"


def features(_root: str, _options: Options) -> int:
    """Print what this runtime can do."""
    print(dumps(document(), indent=True).decode())
    return 0


def document() -> dict[str, Any]:
    """The features structure."""
    from barque import __version__

    options = mount_options()
    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": NEWEST,
        "hooks": list(HOOKS),
        "mountOptions": options,
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": [*NUMBERS],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": honoured("resources", "rdma"),
            },
            "seccomp": seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": honoured("intelRdt")},
            "mountExtensions": {"idmap": {"enabled": "idmap" in options}},
            "memoryPolicy": {"modes": list(MODES), "flags": list(POLICY_FLAGS)},
            "netDevices": {"enabled": honoured("netDevices")},
        },
        "annotations": {
            f"{RUNTIME}.version": __version__,
            f"{RUNTIME}.checkpoint.enabled": "true",
            **seccomp_version(),
        },
    }


def honoured(*path: str) -> bool:
    """Whether a field of `linux` is not refused."""
    value: Any = {"set": "set"}
    for key in reversed(path):
        value = {key: value}
    try:
        refuse_unsupported(Section({"linux": value}))
    except BarqueError:
        return False
    return True


def mount_options() -> list[str]:
    """The words of the specification that a mount's `options` may have."""
    words = {*ATTRIBUTES, *(f"r{name}" for name in ATTRIBUTES), *PROPAGATION, *OTHER_OPTIONS}
    return sorted(word for word in words if takes(word))


def takes(option: str) -> bool:
    """Whether the option is understood: it is neither refused nor handed on to the file system."""
    try:
        return not MountOptions([option], "mounts").data
    except BarqueError:
        return False


def seccomp() -> dict[str, Any]:
    """`linux.seccomp`."""
    return {
        "enabled": True,
        "actions": sorted(action for action in ACTIONS if action_works(action)),
        "operators": sorted(OPERATORS),
        "archs": sorted(f"SCMP_ARCH_{name}" for name in ARCHITECTURES),
        "knownFlags": list(FLAGS),
        "supportedFlags": [name for name, flag in FLAGS.items() if kernel_takes(flag)],
    }


def kernel_takes(flag: int) -> bool:
    """Whether seccomp(2) knows the flag: it looks at flags before it finds that there is no program (EFAULT)."""
    listener = NEW_LISTENER if flag == FLAG_WAIT_KILLABLE_RECV else 0
    try:
        call("seccomp", SECCOMP_SET_MODE_FILTER, flag | listener, None)
    except OSError as error:
        return error.errno == errno.EFAULT
    return False


def action_works(action: str) -> bool:
    """Whether the compiler takes the action."""
    try:
        read_action(Section({"action": action}), "action", "errnoRet")
    except BarqueError:
        return False
    return True


def seccomp_version() -> dict[str, str]:
    """The version of libseccomp, under the name that runc gives it."""
    import ctypes

    class Version(ctypes.Structure):
        """`struct scmp_version` (seccomp_version(3))."""

        _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))

    try:
        library = load_library()
    except BarqueError:
        return {}
    library.seccomp_version.restype = ctypes.POINTER(Version)
    found = library.seccomp_version().contents
    return {"io.github.seccomp.libseccomp.version": f"{found.major}.{found.minor}.{found.micro}"}
