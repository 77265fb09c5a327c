"""Mapping subordinate ids for an ordinary user: newuidmap(1) and newgidmap(1), which /etc/subuid and /etc/subgid direct.

They are the only way for a user without CAP_SETUID to map more than the own id.
"""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.namespaces.mappings import Mapping

# Never PATH: these programs are set-user-id root, and a file of that name elsewhere is somebody's.
DIRECTORIES = ("/usr/bin", "/bin")
TOOLS = {"uid_map": "newuidmap", "gid_map": "newgidmap"}
FILES = {"uid_map": "/etc/subuid", "gid_map": "/etc/subgid"}
MAX_OUTPUT = 4096


def find_tool(file: str, field: str) -> str:
    """The absolute path of the tool that writes `file`. Errors: FailedPrecondition."""
    name = TOOLS[file]
    for directory in DIRECTORIES:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise FailedPrecondition(
        f"{field}: mapping other ids than one's own needs {name}, which is not installed",
        hint=f"install the package uidmap, and give this user a range in {FILES[file]}",
    )


def write_map_with_tool(pid: int, file: str, mappings: list[Mapping], field: str) -> None:
    """Have the tool write `file` of `pid`. Errors: PermissionDenied with what the tool says."""
    tool = find_tool(file, field)
    words = [str(number) for mapping in mappings for number in mapping.triple]
    status, said = run([tool, str(pid), *words])
    if status:
        raise PermissionDenied(
            f"{field}: {os.path.basename(tool)} refused the mappings: {said or f'exit status {status}'}",
            hint=f"this user needs the ranges in {FILES[file]}",
        )


def run(words: list[str]) -> tuple[int, str]:
    """Run a program without environment and input; its exit status and what it said."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
        ]
        pid = os.posix_spawn(words[0], words, {}, file_actions=actions)
    finally:
        os.close(writer)
    try:
        said = b""
        while len(said) < MAX_OUTPUT and (part := os.read(reader, MAX_OUTPUT)):
            said += part
    finally:
        os.close(reader)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), " ".join(said.decode("utf-8", "replace").split())
