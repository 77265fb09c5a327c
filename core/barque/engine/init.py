"""Where the init of `--init` comes from: ours on x86-64, the host's docker-init, tini or catatonit elsewhere."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

from barque.oci.defaults import mount
from barque.spi.errors import FailedPrecondition
from barque.spi.trees.failures import reported

__all__ = ["INIT_WORDS", "InitProgram"]

_TARGET = "/sbin/docker-init"  # as in Docker
INIT_WORDS = (_TARGET, "--")
"""What comes in front of a container's command."""

_HOSTS = ("docker-init", "tini-static", "tini", "catatonit")
_MODE = 0o555


class InitProgram:
    """The file that is bind-mounted into containers, `<directory>/docker-init`; looked at once a daemon. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "docker-init"
        self._lock = threading.Lock()
        self._path = ""

    def mounts(self) -> tuple[dict[str, Any], ...]:
        """The OCI mount that brings it into a container. Errors: FailedPrecondition, ResourceExhausted."""
        with reported("making the init for containers", str(self._file.parent)):
            return (mount(_TARGET, "bind", self.path(), "bind", "ro", "nosuid", "nodev"),)

    def path(self) -> str:
        """Its path on the host. Made if it is not there, and made anew if it is not what it was. Errors: FailedPrecondition, OSError."""
        with self._lock:
            if not self._path:
                self._path = self._own() if os.uname().machine == "x86_64" else _hosts()
            return self._path

    def _own(self) -> str:
        from barque.engine.init_program import program  # only where somebody wants an init
        from barque.store.files import write_atomic

        wanted = program()
        if not _is(self._file, wanted):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._file, wanted, _MODE)
            os.chmod(self._file, _MODE)  # whatever the umask is
        return os.fspath(self._file)


def _is(file: Path, wanted: bytes) -> bool:
    """Whether it is that very program, byte for byte, and nobody but root could have made it another."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    with open(fd, "rb") as stream:
        about = os.fstat(fd)
        ours = (about.st_mode & 0o7777, about.st_uid, about.st_nlink) == (_MODE, os.geteuid(), 1)
        return ours and stream.read(len(wanted) + 1) == wanted


def _hosts() -> str:
    for name in _HOSTS:
        if found := shutil.which(name):
            return os.path.realpath(found)
    raise FailedPrecondition(
        f"--init: there is no init for {os.uname().machine}: none of {', '.join(_HOSTS)} is installed",
        hint="install the package tini",
    )
