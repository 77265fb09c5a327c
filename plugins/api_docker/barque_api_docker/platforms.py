"""The parameter `platform` of operations on stored images: an image here is of one platform, and only that may be asked for."""

from __future__ import annotations

import json

from barque.spi.common import Platform
from barque.spi.content import Image
from barque.spi.errors import InvalidArgument, NotFound
from barque_api_docker.call import Call
from barque_api_docker.translate.text import platform

__all__ = ["asked_platform", "check_platform", "fits"]

_MAX = 1024


def asked_platform(call: Call) -> Platform | None:
    """The parameter, as JSON (`{"os": "linux", "architecture": "arm64"}`) or in words (`linux/arm64`). Errors: InvalidArgument."""
    text = call.query("platform") or ""
    if not text.startswith("{"):
        return platform(text)
    try:
        document = json.loads(text[:_MAX])
    except (ValueError, RecursionError):
        raise InvalidArgument("failed to parse platform: it is not JSON") from None
    values = [document.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(value, str) for value in values) or not (values[0] and values[1]):
        raise InvalidArgument("both OS and Architecture must be provided")
    return platform("/".join(value for value in values if value))


def fits(image: Image, asked: Platform | None) -> bool:
    """Whether the image is of that platform; None asks for none."""
    if asked is None:
        return True
    own = image.platform
    variant = not asked.variant or own.variant in ("", asked.variant)
    return (own.os, own.architecture) == (asked.os, asked.architecture) and variant


def check_platform(call: Call, reference: str, image: Image) -> Image:
    """`image`. Errors: NotFound when the request's platform is another one."""
    asked = asked_platform(call)
    if not fits(image, asked):
        raise NotFound(
            f"image with reference {reference} was found but does not provide the specified platform ({asked})"
        )
    return image
