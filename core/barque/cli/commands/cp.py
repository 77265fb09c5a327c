"""`barque cp`: files between a container and this host."""

from __future__ import annotations

import os
import sys

from barque.cli.context import Context
from barque.cli.copy_paths import Target, asserts_directory, base_name, local_target, placed, split_argument
from barque.cli.errors import CliError, DaemonError
from barque.cli.flags import Command, Values, flag
from barque.cli.transport import segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from barque.cli.transport import Response

__all__ = ["CP"]

_STAT = "x-docker-container-path-stat"
_DIRECTORY, _SYMLINK = 1 << 31, 1 << 27  # of Go's os.FileMode, which the API speaks
_PIECE = 256 * 1024


def copy(context: Context, values: Values) -> int:
    """Copy one way or the other."""
    source, target = values.arguments
    if not source or not target:
        raise CliError(f"{'destination' if source else 'source'} can not be empty")
    from_container, source_path = split_argument(source)
    to_container, target_path = split_argument(target)
    if from_container and to_container:
        raise CliError("copying between containers is not supported")
    if from_container:
        _Copy(context, values, from_container).out(source_path, target_path)
    elif to_container:
        _Copy(context, values, to_container).into(source_path, target_path)
    else:
        raise CliError("must specify at least one container source")
    return 0


class _Copy:
    """One copy of one container."""

    def __init__(self, context: Context, values: Values, container: str) -> None:
        self._client = context.client
        self._container = container
        self._archive_url = f"/containers/{segment(container.strip('/'))}/archive"
        self._follow = values.flag("follow-link")
        self._archive = values.flag("archive")
        self._quiet = values.flag("quiet") or not sys.stderr.isatty()
        self._bytes = 0

    # -- out of the container

    def out(self, source: str, target: str) -> None:
        """Copy `source` of the container to the local `target`, or to stdout as a tar."""
        found = None if target == "-" else local_target(target)
        name = base_name(source)
        if self._follow:
            source = self._followed(source)
        response = self._client.stream("GET", self._archive_url, {"path": source})
        if found is None:
            self._to_stdout(response)
            return
        from barque.cli.tar_unpacking import Unpacking

        directory = bool(self._mode(_decoded(response.headers)) & _DIRECTORY)
        folder, base = placed(name, directory, found)
        content = _Content(response)
        Unpacking(folder, base_name(source), base, archive=self._archive).run(content)  # type: ignore[arg-type]
        content.finish()
        self._bytes = content.bytes
        self._tell(os.path.abspath(target))

    def _to_stdout(self, response: Response) -> None:
        while piece := response.piece():
            sys.stdout.buffer.write(piece)

    def _followed(self, source: str) -> str:
        stat = self._stat(source)
        return str(stat["linkTarget"]) if self._mode(stat) & _SYMLINK else source

    # -- into the container

    def into(self, source: str, target: str) -> None:
        """Copy the local `source`, or the tar on stdin, to `target` in the container."""
        found = self._container_target(target)
        if source == "-":
            if not found.directory:
                raise CliError(f'destination "{self._container}:{target}" must be a directory')
            self._put(found.path, _stdin())
            return
        from barque.cli.tar_making import tar_of

        path = self._local_source(source)
        directory = os.path.isdir(path) and not os.path.islink(path)
        folder, base = placed(base_name(os.path.abspath(source) + _ending(source)), directory, found)
        self._put(folder, tar_of(path, base))
        self._tell(f"{self._container}:{target}")

    def _local_source(self, source: str) -> str:
        """The path to read, without what says how it is meant. A link is followed when a directory is meant, or it is asked for."""
        path = os.path.abspath(source)
        try:
            os.lstat(path)
            if self._follow or asserts_directory(source):
                path = os.path.realpath(path)
                os.lstat(path)
        except OSError as error:
            if isinstance(error, NotADirectoryError):
                raise CliError("not a directory") from None
            raise CliError(f"lstat {path}: {(error.strerror or '').lower()}") from None
        if asserts_directory(source) and not os.path.isdir(path):
            raise CliError("not a directory")
        return path

    def _container_target(self, target: str) -> Target:
        """What is at `target`; a failed look is as good as nothing there: the copy itself will tell."""
        if not target:
            raise CliError("no such directory")
        try:
            stat = self._stat(target)
            if self._mode(stat) & _SYMLINK:
                target = str(stat["linkTarget"])
                stat = self._stat(target)
        except DaemonError:
            return Target(target, False, False)
        return Target(target, True, bool(self._mode(stat) & _DIRECTORY))

    def _put(self, folder: str, pieces: Iterator[bytes]) -> None:
        query = {"path": folder, "noOverwriteDirNonDir": "true", "copyUIDGID": self._archive}
        self._client.upload("PUT", self._archive_url, query, self._counted(pieces)).read()

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._bytes += len(piece)
            yield piece

    # -- both

    def _stat(self, path: str) -> dict[str, Any]:
        response = self._client.stream("HEAD", self._archive_url, {"path": path})
        try:
            return _decoded(response.headers)
        finally:
            response.close()

    def _mode(self, stat: dict[str, Any]) -> int:
        return int(stat["mode"])

    def _tell(self, place: str) -> None:
        if not self._quiet:
            from barque.cli.units import human_size

            sys.stderr.write(f"Successfully copied {human_size(self._bytes)} to {place}\n")


class _Content:
    """The body of an answer as a file to read from."""

    def __init__(self, response: Response) -> None:
        self.bytes = 0
        self._response = response
        self._rest = b""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts = [self._rest]
        have = len(self._rest)
        while have < size and (piece := self._response.piece()):
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        self.bytes += min(size, have)
        return data[:size]

    def finish(self) -> None:
        """Read to the end, to hear of a daemon that gave up."""
        while self._response.piece():
            pass


def _decoded(headers: Any) -> dict[str, Any]:
    """The stat in an answer's head. Raises CliError."""
    import base64
    import json

    try:
        stat = json.loads(base64.b64decode(headers[_STAT]))
        return {"mode": int(stat["mode"]), "linkTarget": str(stat["linkTarget"])}
    except (KeyError, ValueError, TypeError):
        raise CliError("the daemon's answer has no stat of the path") from None


def _ending(source: str) -> str:
    """What `abspath` takes away and has a meaning."""
    return "/." if source == "." or source.endswith("/.") else ""


def _stdin() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


CP = Command(
    summary="Copy files/folders between a container and the local filesystem",
    usage="[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    run=copy,
    arguments=(2, 2),
    options=(
        flag("archive", "Archive mode (copy all uid/gid information)", short="a"),
        flag("follow-link", "Always follow symbol link in SRC_PATH", short="L"),
        flag("quiet", "Suppress progress output during copy", short="q"),
    ),
    examples=(
        "barque cp web:/etc/nginx/nginx.conf .",
        "barque cp site/. web:/srv/www",
        "barque cp -a web:/var/log -",
    ),
)
