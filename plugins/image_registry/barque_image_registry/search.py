"""Search for repositories: Docker Hub's search, and registries that have the same or a catalog."""

from __future__ import annotations

from urllib.parse import urlencode

from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque.spi.image import ImageSearch, SearchResult
from barque_image_registry.boundedjson import read_object
from barque_image_registry.client import RegistryClient, Repository, Request
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.listing import catalog
from barque_image_registry.manifests import bounded
from barque_image_registry.origin import Url
from barque_image_registry.pull import checker
from barque_image_registry.reference import names_host
from barque_image_registry.replies import Subject
from barque_image_registry.wire import Check

__all__ = ["search"]

_HUB = "index.docker.io"
_HUB_NAMES = ("docker.io", "registry-1.docker.io", _HUB)
_LARGEST_ANSWER = 4 << 20
_MOST_RESULTS = 100
_LONGEST_TERM = 256
_LONGEST_TEXT = 1000
_FOUND = frozenset({200, 404, 405, 410})


def search(client: RegistryClient, endpoints: Endpoints, wanted: ImageSearch) -> tuple[SearchResult, ...]:
    """See `ImageHooks.image_search`."""
    if not wanted.term or len(wanted.term) > _LONGEST_TERM or "://" in wanted.term:
        raise InvalidArgument("invalid repository name", hint="search for a word, or HOST/word")
    check = checker(wanted.cancelled, "search")
    check()
    first, slash, rest = wanted.term.partition("/")
    host, term = (first, rest) if slash and names_host(first) else (_HUB, wanted.term)
    if host in _HUB_NAMES:
        host, term = _HUB, term.removeprefix("library/")
    found = _asked(client, endpoints, host, term, wanted, check)
    if found is None and host != _HUB:
        return catalog(client, endpoints, host, term, wanted)
    if found is None:
        raise NotFound(f"{host} has no search")
    return found


def _asked(
    client: RegistryClient, endpoints: Endpoints, host: str, term: str, wanted: ImageSearch, check: Check
) -> tuple[SearchResult, ...] | None:
    """What `/v1/search` answers; None when the registry has no such thing."""
    origin = endpoints.origin(host, check)
    credentials = endpoints.credentials(origin, wanted.credentials)
    repository = Repository(origin, "", "", Subject(host, host), credentials, ("registry:catalog:*",))
    query = urlencode({"q": term, "n": min(max(wanted.limit, 1), _MOST_RESULTS)})
    request = Request("GET", Url(origin, f"/v1/search?{query}"), _FOUND, {"Accept": "application/json"})

    def read() -> bytes | None:
        with client.ask(repository, request, check) as reply:
            return bounded(reply, _LARGEST_ANSWER, "search result") if reply.status == 200 else None

    data = client.retrying(read, check)
    if data is None:
        return None
    try:
        results = read_object(data, "search result").get("results")
    except BarqueError:
        if host == _HUB:
            raise
        # What a registry says to a path it does not know may be a page for browsers.
        return None
    if not isinstance(results, list):
        return None
    return tuple(
        _result(item) for item in results[: wanted.limit] if isinstance(item, dict) and item.get("name")
    )


def _result(item: dict[str, object]) -> SearchResult:
    stars = item.get("star_count")
    return SearchResult(
        _text(item.get("name")),
        _text(item.get("description")),
        stars if isinstance(stars, int) and not isinstance(stars, bool) else 0,
        item.get("is_official") is True,
        item.get("is_automated") is True,
    )


def _text(value: object) -> str:
    """For a terminal: no control characters."""
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_TEXT]
