"""`GET /images/get` and `GET /images/{name}/get`: images as one archive."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_api_docker.call import Call, Stream
from barque_api_docker.http import Response
from barque_api_docker.platforms import check_platform

__all__ = ["save", "save_one"]

_PIECE = 128 << 10
_MAX_IMAGES = 1000


def save(call: Call) -> Response | None:
    """The images of the parameter `names`, which may be repeated."""
    names = tuple(dict.fromkeys(name for name in call.query_all("names") if name))
    if not names:
        raise InvalidArgument("no image is named", hint="name images in the parameter names")
    if len(names) > _MAX_IMAGES:
        raise InvalidArgument(f"more than {_MAX_IMAGES} images")
    return _save(call, names)


def save_one(call: Call) -> Response | None:
    """One image."""
    return _save(call, (call.params["name"],))


def _save(call: Call, names: tuple[str, ...]) -> Response | None:
    """Stream the archive. What fails before its first byte is an HTTP error; later, the stream is cut."""
    if call.query("platform"):
        for name in names:
            check_platform(call, name, call.engine.image_get(name))
    archive = _Archive(call)
    call.engine.image_save(names, archive.write)
    archive.close()
    return None


class _Archive:
    """The answer's body. Small writes, such as a tar's headers, are gathered."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream: Stream | None = None
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        """Errors: Disconnected."""
        if self._stream is None:
            self._stream = self._call.stream("application/x-tar")
        if not self._held and len(data) >= _PIECE:
            self._stream.write(data)
            return
        self._held += data
        if len(self._held) >= _PIECE:
            self._flush(self._stream)

    def _flush(self, stream: Stream) -> None:
        stream.write(bytes(self._held))
        self._held.clear()

    def close(self) -> None:
        """Send the rest, and end the answer."""
        stream = self._stream or self._call.stream("application/x-tar")
        self._flush(stream)
        stream.close()
