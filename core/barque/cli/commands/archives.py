"""`barque save`, `barque load`, `barque import`: images as files, and files as images."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, repeated, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from barque.cli.transport import Response

__all__ = ["IMPORT", "LOAD", "SAVE"]

_PIECE = 256 * 1024


def save(context: Context, values: Values) -> int:
    """Write images as one archive to a file or to stdout."""
    from barque.cli.platforms import platform_parameter

    path = values.text("output")
    if not path and sys.stdout.isatty():
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    query = [("names", name) for name in values.arguments]
    if platform := platform_parameter(values.text("platform")):
        query.append(("platform", platform))
    if path:
        _save_to(context, path, query)
    else:
        _copy(context.client.stream("GET", "/images/get", query), sys.stdout.buffer, lambda _count: None)
    return 0


def _save_to(context: Context, path: str, query: list[tuple[str, str]]) -> None:
    from barque.cli.messages import sink
    from barque.cli.output_file import written_whole

    with written_whole(path, "failed to save image") as file:
        response = context.client.stream("GET", "/images/get", query)
        with sink(sys.stderr, quiet=not sys.stderr.isatty()) as show:
            _copy(response, file, lambda count: show(_count(path, "Saving", count, 0)))


def _copy(response: Response, file: BinaryIO, tell: Callable[[int], None]) -> None:
    count = 0
    while piece := response.piece():
        file.write(piece)
        count += len(piece)
        tell(count)


def _count(path: str, status: str, current: int, total: int) -> dict[str, object]:
    """A message about the archive itself, in the form of the daemon's."""
    detail = {"current": current, "total": total}
    return {"id": os.path.basename(path), "status": status, "progressDetail": detail}


def load(context: Context, values: Values) -> int:
    """Have the images in an archive stored."""
    from barque.cli.messages import follow, sink
    from barque.cli.platforms import platform_parameter

    path = values.text("input")
    quiet = values.flag("quiet") or not sys.stdout.isatty()
    query = {"quiet": quiet, "platform": platform_parameter(values.text("platform"))}
    with _archive(path) as file, sink(sys.stdout) as show:
        tell = None if quiet else lambda sent, total: show(_count(path or "archive", "Sending", sent, total))
        follow(context.client.upload("POST", "/images/load", query, _pieces(file, tell)), show)
    return 0


def _archive(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if not path and sys.stdin.isatty():
        raise CliError("requested load from stdin, but stdin is empty")
    return _opened(path) if path else contextlib.nullcontext(sys.stdin.buffer)


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None


def _pieces(file: BinaryIO, tell: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """The file from where it stands; `tell` hears of bytes read and in all (0: not known)."""
    total = os.fstat(file.fileno()).st_size if tell else 0
    sent = 0
    while piece := os.read(file.fileno(), _PIECE):
        yield piece
        sent += len(piece)
        if tell:
            tell(sent, total)


def import_image(context: Context, values: Values) -> int:
    """Make an image of one layer from a tar; print its id."""
    from barque.cli.messages import follow, sink
    from barque.cli.references import complaint, split

    source, name = values.arguments[0], (values.arguments[1:] or [""])[0]
    if name and split(name) is None:
        raise CliError(complaint(name))
    query = [("fromSrc", "-"), ("repo", name), ("message", values.text("message"))]
    query += [("platform", values.text("platform").lower())]
    query += [("changes", change) for change in values.all("change")]
    given = [(key, value) for key, value in query if value]
    with _source(source) as pieces, sink(sys.stdout) as show:
        follow(context.client.upload("POST", "/images/create", given, pieces), show)
    return 0


@contextlib.contextmanager
def _source(source: str) -> Iterator[Iterator[bytes]]:
    if source == "-":
        yield _pieces(sys.stdin.buffer)
    elif source.startswith(("http://", "https://")):
        with _fetched(source) as response:
            yield iter(lambda: response.read(_PIECE), b"")
    else:
        with _opened(source) as file:
            yield _pieces(file)


@contextlib.contextmanager
def _fetched(url: str) -> Iterator[BinaryIO]:
    """The client fetches: the daemon makes no requests for those who can reach only it."""
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=60) as response:
            yield response
    except OSError as error:
        raise CliError(f'Get "{url}": {getattr(error, "reason", None) or error}') from error


SAVE = Command(
    summary="Save one or more images to a tar archive (streamed to STDOUT by default)",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    run=save,
    arguments=(1, None),
    options=(
        text("output", "Write to a file, instead of STDOUT", short="o"),
        text("platform", "Save only if the images are of this platform, as os/architecture[/variant]"),
    ),
    examples=("barque save -o alpine.tar alpine:3", "barque save alpine:3 busybox | gzip > images.tar.gz"),
)
LOAD = Command(
    summary="Load images from a tar archive or STDIN",
    usage="[OPTIONS]",
    run=load,
    options=(
        text("input", "Read from tar archive file, instead of STDIN", short="i"),
        text("platform", "Show only the images of this platform, as os/architecture[/variant]"),
        flag("quiet", "Suppress the load output", short="q"),
    ),
    examples=("barque load -i alpine.tar", "barque load < images.tar.gz"),
)
IMPORT = Command(
    summary="Import the contents from a tarball to create a filesystem image",
    usage="[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    run=import_image,
    arguments=(1, 2),
    options=(
        repeated("change", "Apply Dockerfile instruction to the created image", short="c"),
        text("message", "Set commit message for imported image", short="m"),
        text("platform", "Set the platform of the image"),
    ),
    examples=(
        "barque import -c 'CMD [\"sh\"]' rootfs.tar.gz base:1",
        "barque import - base:1 < rootfs.tar",
    ),
)
