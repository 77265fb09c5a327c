"""`POST /images/create`: pull, with progress as dockerd's JSON lines; with `fromSrc`, import."""

from __future__ import annotations

import re

from barque.spi.content import Image
from barque.spi.errors import BarqueError, InvalidArgument
from barque_api_docker.call import Call
from barque_api_docker.credentials import given_credentials
from barque_api_docker.http import Response
from barque_api_docker.imports import import_image
from barque_api_docker.platforms import asked_platform
from barque_api_docker.progress import Report
from barque_api_docker.translate.names import shown_name, split_name
from barque_api_docker.translate.text import SCHEMES, familiar_name

__all__ = ["create"]

# An image source's name before what it is asked for (`http:https://…`); after a registry's host stands a port.
_SOURCE = re.compile(r"[a-z][a-z0-9-]*:(?![0-9]+(?:/|$))")


def create(call: Call) -> Response | None:
    """Bring an image in: from a registry, or from the request's body."""
    return import_image(call) if call.query("fromSrc") else _pull(call)


def _pull(call: Call) -> Response | None:
    """Pull an image, or all of a repository. Before the first line of progress an error is an HTTP error, after it a line
    of the stream."""
    reference, every = _reference(call.query("fromImage") or "", call.query("tag") or "")
    report = Report(call)
    try:
        _pull_all(call, report, reference) if every else _pull_one(call, report, reference)
    except BarqueError as error:
        if not report.started:
            raise
        report.fail(error)
    report.close()
    return None


def _pull_one(call: Call, report: Report, reference: str) -> None:
    _, new = _fetch(call, report, reference)
    shown = familiar_name(reference)
    if ":" not in shown.rpartition("/")[2] and "@" not in shown and _SOURCE.match(shown) is None:
        shown += ":latest"
    _tell_state(report, shown, new)


def _pull_all(call: Call, report: Report, repository: str) -> None:
    """Every tag the registry lists, one after the other."""
    references = call.engine.image_tags(
        repository, asked_platform(call), given_credentials(call), report.cancelled
    )
    new = [_fetch(call, report, reference)[1] for reference in references]
    _tell_state(report, familiar_name(repository), any(new))


def _fetch(call: Call, report: Report, reference: str) -> tuple[Image, bool]:
    image, new = call.engine.image_pull(
        reference, asked_platform(call), given_credentials(call), report.progress, report.cancelled
    )
    if digest := _digest(image, reference, call.engine.info().default_registry):
        report.line({"status": f"Digest: {digest}"})
    return image, new


def _digest(image: Image, reference: str, default_registry: str) -> str:
    """What the image is known by where it was pulled from: other repositories may have it under other digests. The newest is last."""
    repository, _, asked = split_name(shown_name(reference, default_registry))
    there = [name.rpartition("@")[2] for name in image.digests if name.startswith(f"{repository}@")]
    return asked if ":" in asked else (there[-1] if there else image.manifest_digest)


def _tell_state(report: Report, shown: str, new: bool) -> None:
    state = "Downloaded newer image for" if new else "Image is up to date for"
    report.line({"status": f"Status: {state} {shown}"})


def _reference(name: str, tag: str) -> tuple[str, bool]:
    """The image's reference, and whether it stands for all tags. The docker CLI completes names before it asks: for a plain `alpine`
    it sends `docker.io/library/alpine`, but where names lead is the engine's to say, and `deb:bash` is no tag of `docker.io/library/deb`."""
    name = familiar_name(name.removesuffix(":"))
    if not name:
        raise InvalidArgument("invalid reference format", hint="name the image in the parameter fromImage")
    if name in SCHEMES and tag:
        return f"{name}:{tag}", False
    if tag:
        return (f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"), False
    _, own, digest = split_name(name)
    return name, not own and not digest and _SOURCE.match(name) is None
