"""`POST /images/{name}/push`: one tag of a repository, or all that are stored."""

from __future__ import annotations

from barque.spi.content import Image
from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque_api_docker.call import Call
from barque_api_docker.credentials import given_credentials
from barque_api_docker.http import Response
from barque_api_docker.platforms import check_platform
from barque_api_docker.progress import Report
from barque_api_docker.translate.image import repo_tags
from barque_api_docker.translate.names import (
    check_repository,
    check_tag,
    full_repository,
    shown_name,
    split_name,
)

__all__ = ["push"]


def push(call: Call) -> Response | None:
    """Push, with progress as dockerd's JSON lines. Every error after the first line is a line."""
    name, own, digest = split_name(call.params["name"])
    default = call.engine.info().default_registry
    repository = shown_name(check_repository(name), default)
    tag = call.query("tag") or own
    if tag:
        check_tag(tag)
    report = Report(call)
    report.line({"status": f"The push refers to repository [{full_repository(name, default)}]"})
    try:
        if digest:
            raise InvalidArgument("cannot push a digest reference")
        for reference in _references(call, repository, tag):
            _push_one(call, report, reference)
    except BarqueError as error:
        report.fail(error)
    report.close()
    return None


def _references(call: Call, repository: str, tag: str) -> list[str]:
    """The names to push, of those that are stored. Errors: NotFound."""
    stored = {name: image for image in call.engine.image_list() for name in repo_tags(image)}
    found = sorted(name for name in stored if split_name(name)[0] == repository)
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {repository}")
    if tag:
        found = [name for name in found if name == f"{repository}:{tag}"]
    if not found:
        raise NotFound(f"tag does not exist: {repository}:{tag}")
    for name in found:
        _check(call, name, stored[name])
    return found


def _check(call: Call, name: str, image: Image) -> None:
    if call.query("platform"):
        check_platform(call, name, image)


def _push_one(call: Call, report: Report, reference: str) -> None:
    pushed = call.engine.image_push(reference, given_credentials(call), report.progress, report.cancelled)
    report.line({"status": f"{pushed.tag}: digest: {pushed.digest} size: {pushed.size}"})
    aux = {"Tag": pushed.tag, "Digest": pushed.digest, "Size": pushed.size}
    report.line({"progressDetail": {}, "aux": aux})
