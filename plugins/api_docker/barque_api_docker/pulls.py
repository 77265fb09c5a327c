"""`POST /images/create`: pull, with progress as dockerd's JSON lines."""

from __future__ import annotations

import base64
import binascii
import json

from barque.spi.content import Image
from barque.spi.errors import BarqueError, InvalidArgument, NotImplemented
from barque.spi.image import Credentials
from barque_api_docker.call import Call
from barque_api_docker.http import Response
from barque_api_docker.progress import Report
from barque_api_docker.translate.text import SCHEMES, familiar_name, platform

__all__ = ["pull"]

_MAX_AUTH = 16 << 10


def pull(call: Call) -> Response | None:
    """Pull an image. Before the first line of progress an error is an HTTP error, after it a line of the stream."""
    if call.query("fromSrc"):
        raise NotImplemented("barque does not implement POST /images/create with fromSrc yet")
    reference = _reference(call.query("fromImage") or "", call.query("tag") or "")
    wanted = platform(call.query("platform") or "")
    credentials = _credentials(call.request.headers.get("x-registry-auth", ""))
    report = Report(call)
    try:
        image, new = call.engine.image_pull(reference, wanted, credentials, report.progress, report.cancelled)
    except BarqueError as error:
        if not report.started:
            raise
        report.fail(error)
    else:
        _finish(report, reference, image, new)
    report.close()
    return None


def _reference(name: str, tag: str) -> str:
    """The image's reference. The docker CLI takes `deb:bash` for an image `docker.io/library/deb` with tag `bash`."""
    name = name.removesuffix(":")
    if not name:
        raise InvalidArgument("invalid reference format", hint="name the image in the parameter fromImage")
    if familiar_name(name) in SCHEMES and tag:
        return f"{familiar_name(name)}:{tag}"
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def _credentials(header: str) -> Credentials | None:
    """What `docker login` stored. Docker ignores a header it cannot read, and so do we: the pull then goes without."""
    if not header or len(header) > _MAX_AUTH:
        return None
    try:
        document = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    values = {
        name: value if isinstance(value := document.get(key), str) else ""
        for name, key in (
            ("username", "username"),
            ("password", "password"),
            ("identity_token", "identitytoken"),
            ("registry_token", "registrytoken"),
        )
    }
    if not values["username"] and isinstance(document.get("auth"), str):
        values["username"], _, values["password"] = _decoded(document["auth"]).partition(":")
    return Credentials(**values) if any(values.values()) else None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (ValueError, binascii.Error):
        return ""


def _finish(report: Report, reference: str, image: Image, new: bool) -> None:
    shown = familiar_name(reference)
    if ":" not in shown.rpartition("/")[2] and "@" not in shown:
        shown += ":latest"
    digest = image.digests[0].rpartition("@")[2] if image.digests else image.manifest_digest
    if digest:
        report.line({"status": f"Digest: {digest}"})
    state = "Downloaded newer image for" if new else "Image is up to date for"
    report.line({"status": f"Status: {state} {shown}"})
