"""Lists a registry gives page by page: tags of a repository, repositories (distribution spec: content discovery)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from barque.spi.errors import InvalidArgument, NotFound, NotImplemented
from barque.spi.image import ImageRequest, ImageSearch, SearchResult
from barque_image_registry.boundedjson import read_object
from barque_image_registry.client import RegistryClient, Repository, Request
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.manifests import bounded
from barque_image_registry.origin import Url
from barque_image_registry.pull import checker
from barque_image_registry.reference import is_path, is_tag, parse
from barque_image_registry.replies import Subject
from barque_image_registry.transport import Reply
from barque_image_registry.wire import Check

__all__ = ["catalog", "tags"]

_LARGEST_PAGE = 4 << 20
_MOST_PAGES = 200
_A_PAGE = 1000
_OK = frozenset({200})
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?', re.IGNORECASE)


def tags(client: RegistryClient, endpoints: Endpoints, request: ImageRequest) -> tuple[str, ...]:
    """See `ImageHooks.image_list`: canonical references of all tags of a repository, in the registry's order."""
    reference = parse(request.reference)
    check = checker(request.cancelled)
    check()
    repository = endpoints.registry(reference, request.credentials, check)
    first = repository.url(f"tags/list?n={_A_PAGE}")
    found = _all(client, repository, first, "tags", check)
    return tuple(f"{reference.host}/{reference.path}:{tag}" for tag in found if is_tag(tag))


def catalog(
    client: RegistryClient, endpoints: Endpoints, host: str, term: str, search: ImageSearch
) -> tuple[SearchResult, ...]:
    """Repositories of a registry whose name contains `term`. NotImplemented: this registry does not list them."""
    check = checker(search.cancelled, "search")
    origin = endpoints.origin(host, check)
    credentials = endpoints.credentials(origin, search.credentials)
    repository = Repository(origin, "", "", Subject(host, host), credentials, ("registry:catalog:*",))
    found: list[SearchResult] = []
    try:
        for name in _all(client, repository, Url(origin, f"/v2/_catalog?n={_A_PAGE}"), "repositories", check):
            if term.lower() in name and is_path(name):
                found.append(SearchResult(f"{host}/{name}"))
            if len(found) >= search.limit:
                break
    except NotFound as error:
        raise NotImplemented(
            f"{host} cannot be searched",
            hint="name the repository; the registry has neither search nor catalog",
        ) from error
    return tuple(found)


def _all(
    client: RegistryClient, repository: Repository, first: Url, field: str, check: Check
) -> Iterator[str]:
    """All names, each once, over a bounded number of pages. A page that brings nothing new is the last."""
    seen: set[str] = set()
    url: Url | None = first
    for _ in range(_MOST_PAGES):
        if url is None:
            return
        names, url = _page(client, repository, url, field, check)
        new = [name for name in dict.fromkeys(names) if name not in seen]
        yield from new
        seen.update(new)
        if not new:
            return
    raise InvalidArgument(f"{repository.origin.host}: more than {_MOST_PAGES} pages of {field}")


def _page(
    client: RegistryClient, repository: Repository, url: Url, field: str, check: Check
) -> tuple[list[str], Url | None]:
    def read() -> tuple[bytes, Url | None]:
        request = Request("GET", url, _OK, {"Accept": "application/json"})
        with client.ask(repository, request, check) as reply:
            return bounded(reply, _LARGEST_PAGE, f"list of {field}"), _next(reply, repository)

    data, following = client.retrying(read, check)
    names = read_object(data, f"list of {field}").get(field) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"list of {field}: it is no list of names")
    return names, following


def _next(reply: Reply, repository: Repository) -> Url | None:
    """Where the list goes on (RFC 8288). Only the registry itself may be asked."""
    match = _NEXT.search(reply.headers.get("Link") or "")
    if match is None:
        return None
    target = reply.url.join(match[1])
    if target.origin != repository.origin:
        raise InvalidArgument(
            f"{repository.origin.host} sends to {target.origin.host} for the rest of a list",
            hint="the registry is misconfigured or hostile",
        )
    return target
