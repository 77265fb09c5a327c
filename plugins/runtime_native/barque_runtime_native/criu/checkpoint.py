"""Writing the state of a container's processes to files, through CRIU, and what `restore` must know about them.

CRIU restores what is inside the container's namespaces. What leads out of them is external: mounts of file systems of
the host, standard streams, and a network namespace that was made by somebody else. Each gets a name (a key) in the
image and is given anew at the restore; `barque.json` beside the images lists them.
"""

from __future__ import annotations

import os
import shutil
import stat

from barque.spi.errors import BarqueError, Conflict, NotImplemented
from barque_runtime_native.cgroup.control import main_directory
from barque_runtime_native.cgroup.layout import read_text, unescape
from barque_runtime_native.criu.program import CriuOptions, run_criu
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.lifecycle import told
from barque_runtime_native.state import PAUSED, RUNNING, Store, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DESCRIPTION = "barque.json"
NETWORK_KEY = "extRootNetNS"
# file systems that CRIU mounts anew although the host has the same one
MADE_ANEW = ("proc", "sysfs", "mqueue", "devpts", "binfmt_misc")
# what a mount of the image is, for the restore
BIND, DEVICE, CGROUP = "bind", "device", "cgroup"


class Checkpoint:
    """One attempt."""

    def __init__(self, container: str, root: str, options: CriuOptions) -> None:
        self.store = Store(root, container)
        self.options = options
        self.leave_running = False
        self.pre_dump = False
        self.parent = ""

    def run(self) -> None:
        """Do it. Errors: NotFound; Conflict when it does not run; NotImplemented; FailedPrecondition."""
        document = self.store.read()
        status, pid = status_of(self.store, document)
        status = told(document, status)
        if status not in (RUNNING, PAUSED):
            raise Conflict(f"Container cannot be checkpointed in {status} state")
        config = document["config"]
        if config.get("process", {}).get("terminal"):
            raise NotImplemented(
                "process.terminal: a container with a terminal cannot be checkpointed",
                hint="its other side is held by whoever started it",
            )
        words = ["--tree", str(pid), "--evasive-devices", "--track-mem"]
        if directory := main_directory(document["cgroups"]):
            words += ["--freeze-cgroup", directory]
        if self.parent:
            words += ["--prev-images-dir", self.parent]
        if self.pre_dump:
            run_criu("pre-dump", words, self.options)
            return
        words += self._externals(pid, config)
        if shutil.which("iptables-restore") is None:
            # Packets are held back meanwhile: by iptables, unless it is told otherwise.
            words += ["--network-lock", "nftables"]
        if self.leave_running:
            words.append("--leave-running")
        self._dump(words)

    def _externals(self, pid: int, config: dict[str, Any]) -> list[str]:
        """criu's arguments about them; `description` is what goes beside the images."""
        mounts = external_mounts(pid, config)
        streams = [stream_of(pid, number) for number in range(3)]
        self.description = {"mounts": mounts, "streams": streams}
        words = [word for key in mounts for word in ("--external", f"mnt[{key}]:{key}")]
        words += [
            word for key in dict.fromkeys(streams) if key.startswith("file[") for word in ("--external", key)
        ]
        if joined_network(config):
            inode = os.stat(f"/proc/{pid}/ns/net").st_ino
            words += ["--external", f"net[{inode}]:{NETWORK_KEY}"]
        return words

    def _dump(self, words: list[str]) -> None:
        path = os.path.join(self.options.images, DESCRIPTION)
        fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, dumps(self.description))
        finally:
            os.close(fd)
        try:
            run_criu("dump", words, self.options)
        except BarqueError:
            os.unlink(path)
            raise


def external_mounts(pid: int, config: dict[str, Any]) -> dict[str, str]:
    """Mount point: BIND, DEVICE or CGROUP of every mount in the container that the host has the file system of."""
    outside = {line.split(" ")[2] for line in read_text("/proc/self/mountinfo").splitlines()}
    cgroups_too = "cgroup" not in {each["type"] for each in namespaces(config)}
    found = {}
    for line in read_text(f"/proc/{pid}/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, fstype = left.split(" "), right.partition(" ")[0]
        device, top, point = fields[2], unescape(fields[3]), unescape(fields[4])
        if point == "/" or device not in outside:
            continue
        if fstype in ("cgroup", "cgroup2"):
            if cgroups_too:
                found[point] = CGROUP
        elif fstype not in MADE_ANEW or top != "/":
            found[point] = DEVICE if is_device(pid, point) else BIND
    return found


def is_device(pid: int, point: str) -> bool:
    """Whether a device node is mounted there: a mask, or a device of a container with a user namespace."""
    status = os.lstat(f"/proc/{pid}/root{point}")
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def stream_of(pid: int, number: int) -> str:
    """CRIU's name of a standard stream that comes from outside; empty when it is the container's own or closed."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        info = read_text(f"/proc/{pid}/fdinfo/{number}")
        inode = os.stat(f"/proc/{pid}/fd/{number}").st_ino
    except FileNotFoundError:
        return ""
    if target.startswith("pipe:["):
        return target
    mount = next(line.split()[1] for line in info.splitlines() if line.startswith("mnt_id:"))
    own = {line.split(" ")[0] for line in read_text(f"/proc/{pid}/mountinfo").splitlines()}
    if target.startswith("/") and mount not in own:
        return f"file[{int(mount):x}:{inode:x}]"
    return ""


def namespaces(config: dict[str, Any]) -> list[dict[str, Any]]:
    """`linux.namespaces`."""
    return list(config.get("linux", {}).get("namespaces") or ())


def joined_network(config: dict[str, Any]) -> str:
    """The path of the network namespace that the container joins; empty when it has its own or the host's."""
    for each in namespaces(config):
        if each["type"] == "network":
            return str(each.get("path") or "")
    return ""
