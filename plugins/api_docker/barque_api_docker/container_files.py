"""Operations on containers' files: archives in and out, export, changes, commit.

While files of a stopped container are read it can be neither started nor removed: a client that does not take them is not waited for.
"""

from __future__ import annotations

import base64
import json
import stat as st
import time
from collections.abc import Callable

from barque.spi.content import CommitRequest, PathStat
from barque.spi.errors import InvalidArgument
from barque.spi.storage import ChangeKind
from barque_api_docker.call import Call, Stream, json_response
from barque_api_docker.http import Response
from barque_api_docker.translate.text import familiar_name

__all__ = ["changes", "commit", "export", "file_mode", "read", "stat", "write"]

_STAT = "X-Docker-Container-Path-Stat"
_TAR = "application/x-tar"
_KINDS = {ChangeKind.MODIFIED: 0, ChangeKind.ADDED: 1, ChangeKind.DELETED: 2}
_YEAR_10000 = 253_402_300_800
_GO_TYPES = {
    st.S_IFDIR: 1 << 31,
    st.S_IFLNK: 1 << 27,
    st.S_IFBLK: 1 << 26,
    st.S_IFCHR: 1 << 26 | 1 << 21,
    st.S_IFIFO: 1 << 25,
    st.S_IFSOCK: 1 << 24,
}
_GO_BITS = {st.S_ISUID: 1 << 23, st.S_ISGID: 1 << 22, st.S_ISVTX: 1 << 20}


def stat(call: Call) -> Response:
    """`HEAD /containers/{id}/archive`."""
    found = call.engine.container_path(call.params["id"], _path(call))
    return Response(200, headers=((_STAT, _stat_header(found)),))


def read(call: Call) -> Response | None:
    """`GET /containers/{id}/archive`. What fails before the first byte is an HTTP error; later, the stream is cut."""
    streams: list[Stream] = []
    patient = _patient(call)

    def begin(found: PathStat) -> Callable[[bytes], object]:
        streams.append(call.stream(_TAR, ((_STAT, _stat_header(found)),), patient=patient))
        return streams[0].write

    call.engine.container_read(call.params["id"], _path(call), begin)
    streams[0].close()
    return None


def write(call: Call) -> Response:
    """`PUT /containers/{id}/archive`."""
    call.engine.container_write(
        call.params["id"],
        _path(call),
        call.upload(),
        no_overwrite=call.query_flag("noOverwriteDirNonDir"),
        copy_owner=call.query_flag("copyUIDGID"),
    )
    return Response(200)


def export(call: Call) -> Response | None:
    """`GET /containers/{id}/export`."""
    stream: Stream | None = None
    patient = _patient(call)

    def send(data: bytes) -> None:
        nonlocal stream
        stream = stream or call.stream("application/octet-stream", patient=patient)
        stream.write(data)

    call.engine.container_export(call.params["id"], send)
    (stream or call.stream("application/octet-stream")).close()
    return None


def _patient(call: Call) -> bool:
    """Whether a client may leave the stream unread: not while it keeps a stopped container from being started and removed."""
    return call.engine.container_get(call.params["id"]).state.status in ("running", "paused")


def changes(call: Call) -> Response:
    """`GET /containers/{id}/changes`. As dockerd, null when there is none."""
    found = call.engine.container_changes(call.params["id"])
    return json_response([{"Path": one.path, "Kind": _KINDS[one.kind]} for one in found] or None)


def commit(call: Call) -> Response:
    """`POST /commit`."""
    container = call.query("container")
    if not container:
        raise InvalidArgument("bad parameter: container cannot be empty")
    image = call.engine.container_commit(
        container,
        CommitRequest(
            repository=familiar_name(call.query("repo") or ""),
            tag=call.query("tag") or "",
            author=call.query("author") or "",
            comment=call.query("comment") or "",
            changes=call.query_all("changes"),
            config=dict(call.body().raw) or None,
            pause=call.query("pause") in (None, "") or call.query_flag("pause"),
        ),
    )
    return json_response({"Id": image.id}, 201)


def _path(call: Call) -> str:
    path = call.query("path")
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    return path


def _stat_header(found: PathStat) -> str:
    """The header's value: JSON in standard base64."""
    document = {
        "name": found.name,
        "size": found.size,
        "mode": file_mode(found.mode),
        "mtime": _moment(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def _moment(ns: int) -> str:
    """RFC 3339; the epoch and times before it are times here, and what has no four-digit year is the last that has."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(min(seconds, _YEAR_10000 - 1))) + digits + "Z"


def file_mode(mode: int) -> int:
    """`st_mode` in the bits of Go's `os.FileMode`, which the API speaks."""
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return _GO_TYPES.get(st.S_IFMT(mode), 0) | bits | mode & 0o777
