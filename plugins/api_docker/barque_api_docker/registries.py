"""What is asked of registries besides images: search, login, description."""

from __future__ import annotations

from typing import Any

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument, PermissionDenied
from barque.spi.image import Credentials, ImageSearch
from barque_api_docker.call import Call, json_response
from barque_api_docker.credentials import given_credentials, read_credentials
from barque_api_docker.filters import Filters
from barque_api_docker.http import Response
from barque_api_docker.translate.names import check_repository, split_name

__all__ = ["auth", "distribution", "search"]

_HUB = "https://index.docker.io/v1/"
_ACCEPTED = frozenset({"is-automated", "is-official", "stars"})
_DEFAULT_LIMIT, _MAX_LIMIT = 25, 100
_MAX_TERM = 1024


def search(call: Call) -> Response:
    """`GET /images/search`."""
    term, limit = call.query("term") or "", call.query_number("limit") or _DEFAULT_LIMIT
    if not 1 <= limit <= _MAX_LIMIT:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MAX_LIMIT}]")
    filters = Filters.parse(call.query("filters"), _ACCEPTED)
    official, automated = filters.flag("is-official"), filters.flag("is-automated")
    stars = max((_stars(value) for value in filters.values("stars")), default=0)
    if not term or len(term) > _MAX_TERM:
        raise InvalidArgument("nothing to search for", hint="name it in the parameter term")
    asked = ImageSearch(term, limit, given_credentials(call), call.gone)
    found = [
        {
            "star_count": one.stars,
            "is_official": one.official,
            "name": one.name,
            "is_automated": one.automated,
            "description": one.description,
        }
        for one in call.engine.image_search(asked)
        if one.stars >= stars and official in (None, one.official) and automated in (None, one.automated)
    ]
    return json_response(found)


def _stars(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidArgument(f"invalid filter 'stars={text}'")
    return int(text)


def auth(call: Call) -> Response:
    """`POST /auth`. Docker's status for wrong credentials is 401."""
    body = call.body()
    credentials = read_credentials(body.raw) or Credentials()
    try:
        token = call.engine.registry_login(body.text("serveraddress") or _HUB, credentials)
    except PermissionDenied as error:
        return json_response({"message": error.message}, 401)
    return json_response({"IdentityToken": token, "Status": "Login Succeeded"})


def distribution(call: Call) -> Response:
    """`GET /distribution/{name}/json`. Docker's status for what needs other credentials is 401."""
    reference = call.params["name"]
    check_repository(split_name(reference)[0])
    try:
        found = call.engine.image_describe(reference, given_credentials(call), call.gone)
    except PermissionDenied as error:
        return json_response({"message": error.message}, 401)
    descriptor: dict[str, Any] = {
        "mediaType": found.descriptor.media_type,
        "digest": found.descriptor.digest,
        "size": found.descriptor.size,
    }
    if found.descriptor.annotations:
        descriptor["annotations"] = dict(found.descriptor.annotations)
    return json_response({"Descriptor": descriptor, "Platforms": [_platform(one) for one in found.platforms]})


def _platform(platform: Platform) -> dict[str, str]:
    document = {"architecture": platform.architecture, "os": platform.os}
    return {**document, "variant": platform.variant} if platform.variant else document
