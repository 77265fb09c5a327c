"""Images as frontends and listeners see them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from barque.engine.events import EventBus
from barque.engine.images.names import ImageNames
from barque.engine.images.rows import StoredImage, repository_of
from barque.spi.common import Platform
from barque.spi.content import Image
from barque.spi.errors import BarqueError, InvalidArgument
from barque.store.content import ContentStore

__all__ = ["ImageViews", "parsed_config", "platform_of"]

_log = logging.getLogger(__name__)


class ImageViews:
    """Configs (read once), views and events. Thread-safe."""

    def __init__(self, content: ContentStore, naming: ImageNames, events: EventBus) -> None:
        self._content, self._naming, self._events = content, naming, events
        self._lock = threading.Lock()
        self._configs: dict[str, Mapping[str, Any]] = {}

    def config(self, image_id: str) -> Mapping[str, Any]:
        """The parsed image config. Errors: NotFound, InvalidArgument (the store lost or damaged it)."""
        with self._lock:
            if image_id not in self._configs:
                self._configs[image_id] = parsed_config(image_id, self._content.read(image_id))
            return self._configs[image_id]

    def forget(self, image_id: str) -> None:
        """The image is gone. Idempotent."""
        with self._lock:
            self._configs.pop(image_id, None)

    def view(self, image: StoredImage, used_ns: int) -> Image:
        """As a frontend sees it; one whose config is lost or damaged is seen too, to be removed or pulled again."""
        damaged = image.damaged
        try:
            config = self.config(image.id)
        except BarqueError as error:
            config, damaged = {}, damaged or error.message
        return Image(
            id=image.id,
            names=tuple(self._naming.familiar(n) for n in image.names),
            digests=tuple(self._naming.familiar(d) for d in image.digests),
            manifest_digest=image.manifest_digest,
            config=config,
            diff_ids=image.diff_ids,
            size=image.size,
            platform=image.platform,
            pulled_ns=image.pulled_ns,
            layer_sizes=tuple(layer.size for layer in image.layers),
            used_ns=used_ns,
            damaged=damaged,
        )

    def announce(self, action: str, image_id: str, *, reference: str = "", name: str = "") -> None:
        """An event as Docker has it: of `reference` (pull, push: its name without the tag is told) or of the image; with its labels."""
        attributes = {} if action == "delete" else self._labels(image_id)
        attributes["name"] = self._repository(reference) if reference else name or image_id
        actor = self._naming.familiar(reference) if reference else image_id
        self._events.publish("image", action, actor, attributes)

    def _labels(self, image_id: str) -> dict[str, str]:
        try:
            labels = (self.config(image_id).get("config") or {}).get("Labels") or {}
            return {str(key): str(value) for key, value in labels.items()}
        except (
            BarqueError,
            AttributeError,
        ) as error:  # damaged, or written by somebody who makes lists of labels
            _log.debug("image %s has no labels: %s", image_id, error)
            return {}

    def _repository(self, reference: str) -> str:
        """Without tag or digest; a name with a scheme as it is."""
        if self._naming.split_scheme(reference)[0]:
            return reference
        return self._naming.familiar(repository_of(reference)).removesuffix(":latest")


def platform_of(config: Mapping[str, Any], asked: Platform) -> Platform:
    """What the config says, for the rest what was asked for."""
    return Platform(
        str(config.get("os") or asked.os),
        str(config.get("architecture") or asked.architecture),
        str(config.get("variant") or ""),
    )


def parsed_config(image_id: str, data: bytes) -> Mapping[str, Any]:
    """Errors: InvalidArgument (it is no JSON object)."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InvalidArgument(
            f"the config of image {image_id} is no JSON object", hint="it is broken at its source"
        )
    return config
