"""Has the layer built in a process of its own: the daemon neither lends its interpreter to tar headers nor grows by a file list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from barque.spi.errors import Internal, from_wire
from barque.spi.trees import interpreter
from barque_image_deb.apt import Archive
from barque_image_deb.cache import CachedLayer
from barque_image_deb.process import Finished, run

__all__ = ["build"]

_PROGRAM = "barque_image_deb.build"


def build(
    archives: Iterable[Archive], debs: Path, work: Path, limit: int, cancelled: Callable[[], bool]
) -> CachedLayer:
    """Make the layer of `archives`, found in the directory `debs`; its file is in `work`, whatever was there is gone.

    At most `limit` bytes a package. Errors: InvalidArgument (a package is damaged or hostile, or two exclude each other), ResourceExhausted,
    Unavailable (cancelled); OSError.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    job = work / "job.json"
    job.write_text(
        json.dumps(
            {"archives": [[a.file, a.size, a.sha256] for a in archives], "debs": str(debs), "limit": limit}
        )
    )
    try:
        finished = run([*interpreter.command(_PROGRAM), str(job)], {}, cancelled, lambda: None, lifeline=True)
        return _layer(finished, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _layer(finished: Finished, work: Path) -> CachedLayer:
    """What the program answered."""
    try:
        found = json.loads(finished.output)
    except ValueError:
        reason = (finished.errors.strip().splitlines() or [f"exit status {finished.code}"])[-1]
        raise Internal(f"building the layer failed: {reason}") from None
    if "error" in found:
        raise from_wire(found["error"])
    if "errno" in found:
        raise OSError(found["errno"], found["text"])
    return CachedLayer(work / "layer.tar", found["digest"], found["size"], found["created"], found["shell"])
