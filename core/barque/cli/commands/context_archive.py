"""`barque context export` and `import`: docker's format, a tar of `meta.json` and `tls/docker/*.pem`."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import zipfile
import zlib

from barque.cli import context_store
from barque.cli.context import Context
from barque.cli.contexts import DEFAULT, TLS_FILES, Store, check_name
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values
from barque.cli.terminal import is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXPORT", "IMPORT"]

_LIMIT = 4 * 1024 * 1024
_TLS = "tls/docker/"


def export(context: Context, values: Values) -> int:
    """Write a context, with its keys, to a file that only its owner reads, or to standard output."""
    name, *rest = values.arguments
    if name == DEFAULT:
        raise CliError(
            'context "default" cannot be exported', hint="create one from it: barque context create NAME"
        )
    path = rest[0] if rest else f"{name}.dockercontext"
    found = Store(context.environ).find(name)
    if path == "-":
        if is_terminal(1):
            raise CliError("cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.flush()
        sys.stdout.buffer.write(_archive(found.meta, found.tls, found.tls_files()))
        return 0
    content = _archive(found.meta, found.tls, found.tls_files())
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from error
    sys.stdout.flush()
    sys.stderr.write(f'Written file "{path}"\n')
    return 0


def _archive(meta: str, tls: str, files: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, "meta.json", os.path.join(meta, "meta.json"), 0o644)
        for directory in ("tls", "tls/docker") if files else ():
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(entry)
        for name in files:
            _add(archive, _TLS + name, os.path.join(tls, name), 0o600)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, path: str, mode: int) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read(_LIMIT)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from error
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def import_context(context: Context, values: Values) -> int:
    """Make a context of what `export` of barque or docker wrote."""
    name, path = values.arguments
    check_name(name)
    store = Store(context.environ)
    if name in store.names():
        raise CliError(f'context "{name}" already exists')
    content = _content(path)
    try:
        members = dict(_zipped(content) if content.startswith(b"PK") else _tarred(content))
        document = json.loads(members.pop("meta.json"))
        if not isinstance(document, dict):
            raise TypeError("meta.json is not an object")
    except KeyError:
        raise CliError("invalid context: no metadata found") from None
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:
        raise CliError(f"invalid context: {error}") from error
    tls = {name.removeprefix(_TLS): data for name, data in members.items()}
    context_store.save(store, {**document, "Name": name}, tls)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully imported context "{name}"\n')
    return 0


def _content(path: str) -> bytes:
    try:
        if path == "-":
            content = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(_LIMIT + 1)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from error
    if len(content) > _LIMIT:
        raise CliError(f"invalid context: it has more than {_LIMIT} bytes")
    return content


def _tarred(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for entry in archive:
            if entry.isdir():
                continue
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is None:
                raise ValueError(f"unexpected entry {entry.name}")
            yield _member(entry.name), file.read(_LIMIT)


def _zipped(content: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            with archive.open(entry) as file:
                yield _member(entry.filename), file.read(_LIMIT)


def _member(name: str) -> str:
    """The name, when it is one that a context has: nothing else is ever written."""
    if name != "meta.json" and name not in [_TLS + file for file in TLS_FILES]:
        raise ValueError(f"unexpected entry {name}")
    return name


EXPORT = Command(
    summary="Export a context to a tar archive FILE or a tar stream on STDOUT",
    usage="[OPTIONS] CONTEXT [FILE|-]",
    run=export,
    arguments=(1, 2),
    examples=("barque context export far", "barque context export far - > far.tar"),
)
IMPORT = Command(
    summary="Import a context from a tar or zip file",
    usage="CONTEXT FILE|-",
    run=import_context,
    arguments=(2, 2),
    examples=("barque context import far far.dockercontext",),
)
