"""A snapshot mounted as the shim mounts it, in a process with a mount namespace of its own, to look into and change.

    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "mnt") as root:
        assert root.tree()["etc/motd"]["type"] == "file"

Needs root. When the process ends the mount is gone, with whatever a failing test left in it.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from barque.spi.common import Mount

__all__ = ["MountedSnapshot"]

_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip


class MountedSnapshot:
    """The mounts of a snapshot at `directory`, which is made. Paths are relative to the mounted root."""

    def __init__(self, mounts: Sequence[Mount], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from barque.testing.mounted import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            self._ask(directory=str(directory), mounts=[asdict(mount) for mount in mounts])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MountedSnapshot:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def tree(self) -> dict[str, dict[str, Any]]:
        """All that is in the root: path -> type, mode, uid, gid, size, mtime, nlink, rdev, and `link` of a symlink.
        A name that is listed, though there is no such file, has the type `missing` and nothing else."""
        found: dict[str, dict[str, Any]] = self._ask(op="tree")
        return found

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return bytes.fromhex(self._ask(op="read", path=path))

    def write(self, path: str, data: bytes, *, owner: tuple[int, int] = (0, 0)) -> None:
        """Create or overwrite a file, as this user and group of the host."""
        self._ask(op="write", path=path, data=data.hex(), owner=owner)

    def size(self) -> int:
        """The bytes that df(1) says the root has altogether."""
        return int(self._ask(op="size"))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._ask(op="remove", path=path)

    def shell(self, script: str) -> None:
        """Have sh(1) of the host do `script` in the root; an AssertionError with its words when it fails."""
        self._ask(op="shell", script=script)

    def xattrs(self, path: str) -> dict[str, str]:
        """The extended attributes that show in the mounted root, as hex."""
        found: dict[str, str] = self._ask(op="xattrs", path=path)
        return found

    def close(self) -> None:
        """End the process and with it the mount. Idempotent."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, **request: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the helper has no pipes")
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        answer = json.loads(stdout.readline() or b'{"error": "the helper died"}')
        if "error" in answer:
            raise AssertionError(f"mounted snapshot: {answer['error']}")
        return answer["value"]


def serve() -> None:
    """The helper's life: mount what the first line says, then answer one request a line."""
    from barque.shim.mounts import enter_namespace, mount_all

    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "mounts" in request:
                enter_namespace()
                mounts = [
                    Mount(m["type"], m["source"], tuple(m["options"]), m["target"]) for m in request["mounts"]
                ]
                mount_all(request["directory"], mounts)
                os.chdir(request["directory"])
                value: Any = None
            else:
                value = _answer(request)
            answer = {"value": value}
        except Exception as error:  # noqa: BLE001 - told to the test, which fails with it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _answer(request: dict[str, Any]) -> Any:
    path = request.get("path", ".")
    match request["op"]:
        case "tree":
            return _tree()
        case "read":
            return Path(path).read_bytes().hex()
        case "write":
            with _acting_as(*request["owner"]):
                Path(path).write_bytes(bytes.fromhex(request["data"]))
        case "size":
            status = os.statvfs(".")
            return status.f_blocks * status.f_frsize
        case "remove":
            os.unlink(path)
        case "shell":
            done = subprocess.run(
                ["sh", "-euc", request["script"]], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise OSError(done.stderr)
        case "xattrs":
            names = os.listxattr(path, follow_symlinks=False)
            return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}
    return None


@contextmanager
def _acting_as(uid: int, gid: int) -> Iterator[None]:
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _tree() -> dict[str, dict[str, Any]]:
    found = {}
    for directory, directories, files in os.walk("."):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, ".")] = _describe(path)
    return found


def _describe(path: str) -> dict[str, Any]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return {"type": "missing"}
    described: dict[str, Any] = {
        "type": _KINDS[stat.S_IFMT(status.st_mode)],
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "mtime": int(status.st_mtime),
        "nlink": status.st_nlink,
        "rdev": status.st_rdev,
    }
    if stat.S_ISLNK(status.st_mode):
        described["link"] = os.readlink(path)
    return described
