"""`POST /images/create` with `fromSrc`: an image of one layer from a tar in the request's body."""

from __future__ import annotations

from barque.spi.common import Progress
from barque.spi.content import ImportRequest
from barque.spi.errors import InvalidArgument, NotImplemented
from barque_api_docker.call import Call
from barque_api_docker.http import Response
from barque_api_docker.platforms import asked_platform
from barque_api_docker.progress import Report
from barque_api_docker.translate.names import check_repository, check_tag, split_name
from barque_api_docker.translate.text import familiar_name

__all__ = ["import_image"]

_MAX_CHANGES = 100


def import_image(call: Call) -> Response | None:
    """Import, and tell the new image's id."""
    source = call.query("fromSrc")
    if source != "-":
        raise NotImplemented(
            f"barque does not fetch {str(source)[:100]!r} to import it",
            hint="let the client fetch it: curl URL | docker import - NAME",
        )
    repository, tag = _name(familiar_name(call.query("repo") or ""), call.query("tag") or "")
    changes = call.query_all("changes")
    if len(changes) > _MAX_CHANGES:
        raise InvalidArgument(f"more than {_MAX_CHANGES} changes")
    platform = asked_platform(call)
    if platform is not None and platform.os != "linux":
        raise InvalidArgument("operating system is not supported")
    request = ImportRequest(
        source=call.upload(),
        repository=repository,
        tag=tag,
        message=call.query("message") or "",
        changes=changes,
        platform=platform,
    )
    image = call.engine.image_import(request, _silent)
    report = Report(call)
    report.line({"status": image.id})
    report.close()
    return None


def _silent(_: Progress) -> None:
    """Clients take the answer's only line for the image's id."""


def _name(repository: str, tag: str) -> tuple[str, str]:
    """Repository and tag; the tag may stand in either parameter. Errors: InvalidArgument."""
    if not repository:
        return "", ""
    name, own, digest = split_name(repository)
    if digest:
        raise InvalidArgument("cannot import digest reference")
    return check_repository(name), check_tag(tag or own or "latest")
