"""Check credentials with a registry, as `docker login` asks for."""

from __future__ import annotations

from barque.spi.errors import PermissionDenied
from barque.spi.image import Credentials
from barque_image_registry import challenge
from barque_image_registry.client import RegistryClient
from barque_image_registry.config import endpoint_of
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.origin import Url, parse_url
from barque_image_registry.replies import Subject, failure
from barque_image_registry.tokens import TokenRequest, basic, fetch
from barque_image_registry.wire import Check

__all__ = ["login"]

_DISCARDED = 64 << 10


def login(client: RegistryClient, endpoints: Endpoints, server: str, credentials: Credentials) -> str:
    """See `ImageHooks.image_login`."""
    host = _host(server)

    def check() -> None:
        """A login is short: nobody cancels it."""

    origin = endpoints.origin(host, check)
    url = Url(origin, "/v2/")
    try:
        return client.retrying(lambda: _once(client, url, Subject(host, host), credentials, check), check)
    except PermissionDenied as error:
        said = (
            error.message if error.message.startswith("unauthorized: ") else f"unauthorized: {error.message}"
        )
        raise PermissionDenied(f'Get "{url}": {said}', hint="check user name and password") from error


def _once(client: RegistryClient, url: Url, subject: Subject, credentials: Credentials, check: Check) -> str:
    with client.follow("GET", url, {}, None, check) as reply:
        asked = challenge.choose(challenge.parse(reply.headers.get_all("WWW-Authenticate") or ()))
        if reply.status == 200:
            return ""
        if reply.status != 401 or asked is None or reply.url.origin != url.origin:
            raise failure(reply, subject, True)
        reply.read_at_most(_DISCARDED)
    identity = ""
    if asked.scheme == "basic":
        header = basic(credentials)
    else:
        request = TokenRequest(url.origin, subject, asked, (), credentials, lasting=True)
        token = fetch(request, client.transport.plain, client.follow, check)
        header, identity = token.header, token.identity
    with client.follow("GET", url, {"Authorization": header}, None, check) as reply:
        if reply.status != 200:
            raise failure(reply, subject, True)
    return identity


def _host(server: str) -> str:
    """The host (and port) of what clients call the server: a host, or a URL such as Docker Hub's."""
    text = server.strip() or "docker.io"
    url = parse_url(text if "://" in text else f"https://{text}/")
    return endpoint_of(text.removeprefix(f"{url.origin.scheme}://").partition("/")[0])
