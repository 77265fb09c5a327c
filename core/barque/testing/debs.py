"""Makes Debian packages, and a signed archive of them for apt: `file:` URLs, no network, no root.

repository = DebRepository(tmp_path, "bookworm")
repository.add(Deb("hello", depends="libhello", files={"usr/bin/hello": b"..."}))
repository.publish()
...mirror=repository.url, keyring=repository.keyring...
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from barque.testing import need
from barque.testing.layers import LayerTar

__all__ = ["Deb", "DebRepository", "ar"]

_COMPRESSORS = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "tar": bytes,
}


@dataclass
class Deb:
    """A binary package. `files` are regular files by path; `tar` a data tar of its own instead; `fields` further control fields."""

    package: str
    version: str = "1.0-1"
    depends: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    tar: LayerTar | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"
    compression: str = "xz"

    @property
    def file_name(self) -> str:
        return f"{self.package}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    def control(self) -> str:
        """The control paragraph."""
        lines = [f"Package: {self.package}", f"Version: {self.version}", f"Architecture: {self.architecture}"]
        lines += ["Maintainer: nobody <nobody@example.com>"]
        if self.depends:
            lines.append(f"Depends: {self.depends}")
        lines += [f"{name}: {value}" for name, value in self.fields.items()]
        return "\n".join([*lines, "Description: a package for tests", " of Barque", ""])

    def build(self) -> bytes:
        """The .deb."""
        data = (self.tar or self._data()).content()
        control = _tar(
            {"./control": self.control().encode(), "./md5sums": b"", "./postinst": b"#!/bin/sh\nexit 1\n"}
        )
        if self.compression == "zst":
            import zstandard

            packed = zstandard.ZstdCompressor().compress(data)
        else:
            packed = _COMPRESSORS[self.compression](data)
        suffix = "" if self.compression == "tar" else f".{self.compression}"
        return ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.gz": gzip.compress(control, mtime=0),
                f"data.tar{suffix}": packed,
            }
        )

    def _data(self) -> LayerTar:
        tar = LayerTar().directory("./")
        made = {""}
        for path, content in sorted(self.files.items()):
            parts = path.split("/")
            for end in range(1, len(parts)):
                parent = "/".join(parts[:end])
                if parent not in made:
                    made.add(parent)
                    tar.directory(f"./{parent}/")
            tar.file(f"./{path}", content, mode=0o755)
        return tar


class DebRepository:
    """An archive in Debian's layout below `directory`, signed with a key of its own. `like`: another suite of that archive, with its key."""

    def __init__(
        self, directory: Path, suite: str, architecture: str = "amd64", like: DebRepository | None = None
    ) -> None:
        need.tool("apt-get")
        self._root = directory / "archive"
        self._home = directory / "gnupg"
        self._suite, self._architecture = suite, architecture
        self._debs: dict[str, Deb] = {}
        self._files: tuple[Path, ...] = ()
        if like is None:
            (self._root / "pool").mkdir(parents=True)
            self._make_key()

    @property
    def url(self) -> str:
        return f"file:{self._root}"

    @property
    def keyring(self) -> str:
        return str(self._home / "public.gpg")

    @property
    def pool(self) -> Path:
        """Where the .debs are."""
        return self._root / "pool"

    @property
    def release(self) -> Path:
        """The signed index of indexes."""
        return self._root / "dists" / self._suite / "InRelease"

    def add(self, *debs: Deb) -> None:
        """Add packages, or newer versions of them, at the next `publish`."""
        for deb in debs:
            self._debs[deb.package] = deb

    def add_files(self, debs: Iterable[Path]) -> None:
        """Add packages that are there as .deb files, at the next `publish`."""
        self._files += tuple(debs)

    def publish(self, release_fields: str = "") -> None:
        """Write packages, indexes and signature. `release_fields`: further lines of the Release file."""
        paragraphs = [self._put(deb.file_name, deb.build(), deb.control()) for deb in self._debs.values()]
        for path in self._files:
            control = subprocess.run(
                [need.tool("dpkg-deb"), "--field", path], check=True, capture_output=True
            ).stdout
            paragraphs.append(self._put(path.name, path.read_bytes(), control.decode()))
        index = "\n".join(paragraphs).encode()
        name = f"main/binary-{self._architecture}/Packages"
        path = self.release.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(index)
        release = (
            f"Suite: {self._suite}\nCodename: testcode\nArchitectures: {self._architecture}\nComponents: main\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\n{release_fields}SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
        )
        self.release.unlink(missing_ok=True)
        self._gpg("--clearsign", "--output", str(self.release), data=release.encode())

    def _put(self, name: str, data: bytes, control: str) -> str:
        """Write a .deb into the pool; its paragraph of the index."""
        (self.pool / name).write_bytes(data)
        return (
            f"{control}Filename: pool/{name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )

    def _make_key(self) -> None:
        self._home.mkdir(mode=0o700)
        self._gpg("--quick-generate-key", "test@example.com", "ed25519", "sign", "never")
        self._gpg("--output", self.keyring, "--export")
        subprocess.run([need.tool("gpgconf"), "--homedir", str(self._home), "--kill", "all"], check=True)

    def _gpg(self, *arguments: str, data: bytes = b"") -> None:
        command = [
            need.tool("gpg"),
            "--homedir",
            str(self._home),
            "--batch",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
        ]
        subprocess.run([*command, *arguments], input=data, check=True, capture_output=True)

    def close(self) -> None:
        """End the agent that gpg left running. Idempotent."""
        subprocess.run([need.tool("gpgconf"), "--homedir", str(self._home), "--kill", "all"], check=True)


def ar(members: Mapping[str, bytes]) -> bytes:
    """An ar file (ar(5), common format)."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
