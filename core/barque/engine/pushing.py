"""Pushing an image to where it came from or elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from barque.engine.core import Core
from barque.spi.common import ProgressSink
from barque.spi.content import Pushed
from barque.spi.errors import NotImplemented
from barque.spi.image import Credentials

__all__ = ["Pusher"]


class Pusher:
    """Pushing an image to where it came from or elsewhere."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def push(
        self,
        reference: str,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> Pushed:
        """See `ContentOperations.image_push`."""
        raise NotImplemented("not there yet")
