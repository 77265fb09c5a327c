"""`POST /images/load`: images from a `docker save` archive in the request's body."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from barque.spi.common import Platform
from barque.spi.content import Image
from barque.spi.errors import BarqueError, NotFound, ResourceExhausted
from barque_api_docker.call import Call
from barque_api_docker.http import Response
from barque_api_docker.platforms import asked_platform, fits
from barque_api_docker.progress import Report
from barque_api_docker.translate.image import repo_tags

__all__ = ["load"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def load(call: Call) -> Response | None:
    """Keep the archive, let the engine load it, and tell its names in dockerd's words."""
    platform = asked_platform(call)
    quiet = call.query_flag("quiet")
    report = Report(call)
    with _kept(call) as path:
        try:
            images = call.engine.image_load(path, report.notice if quiet else report.progress)
        except BarqueError as error:
            if not report.started:
                raise
            report.fail(error)
        else:
            _finish(report, images, platform)
    report.close()
    return None


def _finish(report: Report, images: tuple[Image, ...], platform: Platform | None) -> None:
    """Tell the names of those of the platform that was asked for; it is an error when there are none."""
    fitting = [image for image in images if fits(image, platform)]
    if images and not fitting:
        report.fail(
            NotFound(f"requested platform ({platform}) not found: the archive's images are of others")
        )
    for image in fitting:
        for name in repo_tags(image):
            report.line({"stream": f"Loaded image: {name}\n"})
        if not image.names:
            report.line({"stream": f"Loaded image ID: {image.id}\n"})


@contextmanager
def _kept(call: Call) -> Iterator[str]:
    """The body as a file without a name below the engine's root: nothing is left of it, whatever happens."""
    import tempfile  # 4 ms that a daemon that never loads an image can do without

    try:
        with tempfile.TemporaryFile(dir=call.engine.info().root) as file:
            for piece in call.upload():
                file.write(piece)
            file.flush()
            yield f"/proc/{os.getpid()}/fd/{file.fileno()}"
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceExhausted(
                f"keeping the uploaded image: {error.strerror}",
                hint="free space on the data root's file system (`barque system df`)",
            ) from error
        raise
