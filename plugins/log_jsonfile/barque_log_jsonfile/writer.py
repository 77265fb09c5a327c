"""The writer that the shim holds: joins lines over chunks, encodes, appends."""

from __future__ import annotations

from collections.abc import Mapping

from barque_log_jsonfile.encode import LineEncoder, has_long_line, pieces
from barque_log_jsonfile.options import Limits
from barque_log_jsonfile.paths import LogPaths
from barque_log_jsonfile.rotating import RotatingFile

__all__ = ["JsonFileWriter"]


class JsonFileWriter:
    """The open log of one container (`barque.spi.log.LogWriter`).

    The beginning of a line whose newline has not come yet (fewer than 16 KiB) waits in memory, as in dockerd.
    """

    def __init__(self, paths: LogPaths, limits: Limits, attributes: Mapping[str, str]) -> None:
        self._file = RotatingFile(paths, limits)
        self._streams = {name: _Stream(LineEncoder(name, attributes)) for name in ("stdout", "stderr")}

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Append the lines that are complete with `data`. Raises OSError as write(2) does; later calls work again."""
        lines = self._streams[stream].feed(data, time_ns)
        if lines:
            self._file.append(lines)

    def unfinished(self, stream: str) -> bytes:
        """What waits for its newline."""
        return self._streams[stream].pending

    def close(self) -> None:
        """Write what waits for its newline, without one, and close. Idempotent, also after an OSError."""
        try:
            for stream in self._streams.values():
                rest = stream.flush()
                if rest:
                    self._file.append(rest)
        finally:
            self._file.close()


class _Stream:
    """One of stdout and stderr: its unfinished line and its encoder."""

    __slots__ = ("_encoder", "_time_ns", "pending")

    def __init__(self, encoder: LineEncoder) -> None:
        self._encoder = encoder
        self.pending = b""
        self._time_ns = 0

    def feed(self, data: bytes, time_ns: int) -> bytes:
        """The entries that `data` completes."""
        self._time_ns = time_ns
        if self.pending:
            data = self.pending + data
        cut = data.rfind(b"\n") + 1
        lines, rest = data[:cut], data[cut:]
        encoded = self._encode_lines(lines) if lines else b""
        full, self.pending = pieces(rest)
        return encoded + self._encode_pieces(full)

    def flush(self) -> bytes:
        """The entry of the unfinished line, or nothing."""
        rest, self.pending = self.pending, b""
        return self._encoder.encode_piece(rest, self._time_ns) if rest else b""

    def _encode_lines(self, lines: bytes) -> bytes:
        if not has_long_line(lines):
            return self._encoder.encode_lines(lines, self._time_ns)
        found: list[bytes] = []
        for line in lines.split(b"\n")[:-1]:
            full, rest = pieces(line + b"\n")
            found += [*full, rest]
        return self._encode_pieces(found)

    def _encode_pieces(self, found: list[bytes]) -> bytes:
        return b"".join([self._encoder.encode_piece(piece, self._time_ns) for piece in found])
