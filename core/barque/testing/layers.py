"""Makes layer tars for tests: ordinary ones, and such as no honest tool would write.

layer = LayerTar().directory("etc").file("etc/motd", b"hello").whiteout("etc/issue")
request = layer.store(tmp_path, "gzip")        # a LayerApply, ready for `storage_apply`
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from barque.spi.storage import LayerApply

__all__ = ["MEDIA_TYPES", "LayerTar"]

MEDIA_TYPES = {
    "plain": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}

MTIME = 1_700_000_000


class LayerTar:
    """A tar in the making; each method adds one entry and returns the tar itself."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)

    def file(
        self, name: str, data: bytes = b"", xattrs: Mapping[str, bytes] | None = None, **fields: int
    ) -> LayerTar:
        """A regular file. `fields` are `mode`, `uid`, `gid`, `mtime`."""
        return self._add(name, tarfile.REGTYPE, data, "", xattrs, fields)

    def directory(self, name: str, xattrs: Mapping[str, bytes] | None = None, **fields: int) -> LayerTar:
        """A directory, of mode 0755 unless said otherwise."""
        return self._add(name, tarfile.DIRTYPE, b"", "", xattrs, {"mode": 0o755, **fields})

    def symlink(self, name: str, target: str, **fields: int) -> LayerTar:
        """A symbolic link."""
        return self._add(name, tarfile.SYMTYPE, b"", target, None, fields)

    def hardlink(self, name: str, target: str) -> LayerTar:
        """A hard link to an entry of this tar."""
        return self._add(name, tarfile.LNKTYPE, b"", target, None, {})

    def device(self, name: str, major: int, minor: int, *, block: bool = False, **fields: int) -> LayerTar:
        """A character (or block) device."""
        kind = tarfile.BLKTYPE if block else tarfile.CHRTYPE
        return self._add(name, kind, b"", "", None, {"devmajor": major, "devminor": minor, **fields})

    def fifo(self, name: str, **fields: int) -> LayerTar:
        """A named pipe."""
        return self._add(name, tarfile.FIFOTYPE, b"", "", None, fields)

    def whiteout(self, name: str) -> LayerTar:
        """The mark that lower layers' `name` is deleted."""
        parent, slash, base = name.rpartition("/")
        return self.file(f"{parent}{slash}.wh.{base}")

    def opaque(self, directory: str) -> LayerTar:
        """The mark that nothing of lower layers shows in `directory`."""
        return self.file(f"{directory}/.wh..wh..opq")

    def raw(self, data: bytes) -> LayerTar:
        """Bytes as they are: a hand-made header, garbage."""
        self._buffer.write(data)
        self._tar.offset = self._buffer.tell()
        return self

    def content(self) -> bytes:
        """The finished tar."""
        end = self._buffer.tell()
        self._buffer.write(bytes(2 * tarfile.BLOCKSIZE))
        data = self._buffer.getvalue()
        self._buffer.seek(end)
        self._buffer.truncate()
        return data

    def diff_id(self) -> str:
        """sha256 of the finished tar."""
        return f"sha256:{hashlib.sha256(self.content()).hexdigest()}"

    def store(self, directory: Path, compression: str = "gzip", diff_id: str = "") -> LayerApply:
        """Write the layer into `directory`; the request to apply it, with a false diff id if one is given."""
        blob = compress(self.content(), compression)
        path = directory / f"{hashlib.sha256(blob).hexdigest()}.{compression}"
        path.write_bytes(blob)
        return LayerApply(diff_id or self.diff_id(), str(path), MEDIA_TYPES[compression])

    def _add(
        self,
        name: str,
        kind: bytes,
        data: bytes,
        link: str,
        xattrs: Mapping[str, bytes] | None,
        fields: Mapping[str, int],
    ) -> LayerTar:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.size = len(data)
        info.linkname = link
        info.mtime = MTIME
        for field, value in fields.items():
            setattr(info, field, value)
        info.pax_headers = {
            f"SCHILY.xattr.{attribute}": content.decode("utf-8", "surrogateescape")
            for attribute, content in (xattrs or {}).items()
        }
        self._tar.addfile(info, io.BytesIO(data))
        return self


def compress(data: bytes, compression: str) -> bytes:
    """`data` in one of the compressions of `MEDIA_TYPES`."""
    if compression == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data
