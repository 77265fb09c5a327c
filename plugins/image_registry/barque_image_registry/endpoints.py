"""Where a repository is served, and who we are there: the registry itself and its mirrors, by the profile."""

from __future__ import annotations

import re
from pathlib import Path

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.image import Credentials
from barque_image_registry.client import RegistryClient, Repository
from barque_image_registry.config import RegistryConfig, endpoint_of
from barque_image_registry.origin import Origin, parse_url
from barque_image_registry.reference import Reference
from barque_image_registry.replies import Subject
from barque_image_registry.wire import Check

__all__ = ["Endpoints"]

_LARGEST_PASSWORD = 64 << 10


class Endpoints:
    """Repositories at their endpoints. Thread-safe."""

    def __init__(self, config: RegistryConfig, client: RegistryClient) -> None:
        self._config, self._client = config, client

    def origin(self, endpoint: str, check: Check) -> Origin:
        """The origin of `host[:port]`: https, or http where that is allowed and all there is."""
        secure = parse_url(f"https://{endpoint}/").origin
        transport = self._client.transport
        scheme = self._client.retrying(lambda: transport.scheme_of(secure.host, secure.port, check), check)
        return parse_url(f"{scheme}://{endpoint}/").origin

    def registry(
        self, reference: Reference, credentials: Credentials | None, check: Check, *, push: bool = False
    ) -> Repository:
        """The repository at the registry itself."""
        subject = Subject(reference.familiar_repository, reference.familiar, push)
        origin = self.origin(reference.endpoint, check)
        actions = "pull,push" if push else "pull"
        scopes = (f"repository:{reference.path}:{actions}",)
        return Repository(origin, "", reference.path, subject, self.credentials(origin, credentials), scopes)

    def mirrors(self, reference: Reference) -> list[Repository]:
        """The repository at the registry's mirrors, best first. They get none of the user's credentials."""
        subject = Subject(reference.familiar_repository, reference.familiar)
        registry = parse_url(f"https://{reference.endpoint}/").origin
        return [
            Repository(
                mirror.origin,
                mirror.target.rstrip("/"),
                reference.path,
                subject,
                self.credentials(mirror.origin, None),
            )
            for mirror in self._config.mirrors_of(registry)
        ]

    def credentials(self, origin: Origin, given: Credentials | None) -> Credentials | None:
        """What the client sent for this registry, or else what the profile has for it. Errors: FailedPrecondition (unreadable file)."""
        if given is not None and given != Credentials() and _are_for(given.server, origin):
            return given
        options = self._config.host(origin)
        if not options.password_file:
            return None
        try:
            with Path(options.password_file).open(encoding="utf-8") as file:
                password = file.read(_LARGEST_PASSWORD).strip()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise FailedPrecondition(
                f"password_file {options.password_file} cannot be read: {reason}",
                hint="correct it in the profile",
            ) from error
        return Credentials(options.username, password)


def _are_for(server: str, origin: Origin) -> bool:
    """Whether credentials for `server` (a host, or a URL such as Docker Hub's; empty: any) may go to `origin`."""
    if not server:
        return True
    try:
        url = parse_url(server if "://" in server else f"https://{server}")
    except InvalidArgument:
        return False
    has_port = re.search(
        r":[0-9]+$", server.partition("://")[2].partition("/")[0] or server.partition("/")[0]
    )
    same_host = endpoint_of(url.origin.host) == endpoint_of(origin.host)
    return same_host and (has_port is None or url.origin.port == origin.port)
