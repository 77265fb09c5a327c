"""`exit.json`: how a container ended, for a daemon that was not there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from barque.shim.protocol import EXIT_FILE

__all__ = ["Exit", "read_exit_file", "remove_exit_file", "sync_exit_file", "write_exit_file"]

_MAX_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Exit:
    """`code` as a shell counts (128 + signal), `time_ns` since the epoch, `oom`: the kernel killed for memory."""

    code: int
    time_ns: int
    oom: bool

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"code": self.code, "time_ns": self.time_ns, "oom": self.oom}


def write_exit_file(directory: int, ended: Exit) -> None:
    """Write the file into the open directory: whole, or not at all. A power cut may undo or damage it; see `sync_exit_file`."""
    temporary = EXIT_FILE + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        os.write(fd, json.dumps(ended.to_json()).encode())
    finally:
        os.close(fd)
    os.replace(temporary, EXIT_FILE, src_dir_fd=directory, dst_dir_fd=directory)


def sync_exit_file(directory: int) -> None:
    """Have the file survive a power cut: 3 ms, which nobody should wait for. Idempotent; gone already is fine."""
    try:
        fd = os.open(EXIT_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.fsync(directory)


def remove_exit_file(directory: int) -> None:
    """Remove what an earlier run of the container left. Idempotent."""
    try:
        os.unlink(EXIT_FILE, dir_fd=directory)
    except FileNotFoundError:
        return
    os.fsync(directory)


def read_exit_file(state: str) -> dict[str, Any] | None:
    """`{"code", "time_ns", "oom"}` of the state directory, or None when there is none that can be believed."""
    try:
        fd = os.open(os.path.join(state, EXIT_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = json.loads(os.read(fd, _MAX_SIZE))
        ended = Exit(int(document["code"]), int(document["time_ns"]), bool(document["oom"]))
    except (ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(fd)
    return ended.to_json()
