"""Image references: Docker's grammar and its defaults (`alpine` is `docker.io/library/alpine:latest`), or another default registry.

Source: the distribution project's reference grammar, as `docker pull` accepts it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from barque.spi.errors import InvalidArgument

__all__ = ["DEFAULT_DOMAIN", "Reference", "is_digest", "parse_reference", "registry_domain"]

DEFAULT_DOMAIN = "docker.io"
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_OFFICIAL = "library/"
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?"
    r"|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; `tag` and `digest` may be empty, not both after `parse_reference`."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """`docker.io/library/alpine`."""
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """The canonical name with tag, or digest when there is no tag."""
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"

    @property
    def full(self) -> str:
        """The canonical name with everything it has: `docker.io/library/alpine:3@sha256:…`."""
        return self._with_pointers(self.repository)

    def familiar_repository(self, default: str = DEFAULT_DOMAIN) -> str:
        """As Docker shows it where names without a host lead to `default`: `alpine`, `user/app`, `localhost:5000/x`."""
        short = self.path
        if self.domain == DEFAULT_DOMAIN and short.count("/") == 1:
            short = short.removeprefix(_OFFICIAL)
        # A path may begin like a host (`my.team/app`): shown alone, it would be read as one.
        return short if self.domain == default and not _has_domain(short) else self.repository

    def familiar(self, default: str = DEFAULT_DOMAIN) -> str:
        """The familiar repository with tag, or digest where there is none."""
        repository = self.familiar_repository(default)
        return f"{repository}:{self.tag}" if self.tag else f"{repository}@{self.digest}"

    def _with_pointers(self, repository: str) -> str:
        return repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def is_digest(text: str) -> bool:
    """Whether `text` is a sha256 digest in its only accepted form."""
    return _DIGEST.fullmatch(text) is not None


def registry_domain(text: str) -> str:
    """A registry's `host[:port]` as references have it (Docker Hub has several names). Errors: InvalidArgument."""
    if not _DOMAIN.fullmatch(text):
        raise InvalidArgument(f"{text[:100]!r} is no registry", hint="write host or host:port")
    return DEFAULT_DOMAIN if text.lower() in _DOCKER_HUB else text


def parse_reference(text: str, default: str = DEFAULT_DOMAIN) -> Reference:
    """Parse and complete a reference; a name without a host leads to `default`. Errors: InvalidArgument `invalid reference format`."""
    rest, _, digest = text.partition("@")
    if "@" in text and not is_digest(digest):
        raise _bad(text)
    if _HEX64.fullmatch(rest):
        raise InvalidArgument(
            f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings",
            hint="an image id has no registry to pull it from",
        )
    tag = ""
    head, colon, tail = rest.rpartition(":")
    if colon and "/" not in tail:
        rest, tag = head, tail
        if not _TAG.fullmatch(tag):
            raise _bad(text)
    reference = _with_domain(rest, default, text)
    if not tag and not digest:
        tag = "latest"
    return replace(reference, tag=tag, digest=digest)


def _has_domain(rest: str) -> bool:
    """Whether what stands before the first slash is a registry's host."""
    first, slash, _ = rest.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def _with_domain(rest: str, default: str, text: str) -> Reference:
    first, _, others = rest.partition("/")
    domain, path = (first, others) if _has_domain(rest) else (default, rest)
    if domain in _DOCKER_HUB:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if not _PATH.fullmatch(path):
        if path != path.lower() and _PATH.fullmatch(path.lower()):
            raise InvalidArgument(
                f"invalid reference format: repository name ({path.removeprefix(_OFFICIAL)}) must be lowercase",
                hint="write it in lower case",
            )
        raise _bad(text)
    if not _DOMAIN.fullmatch(domain) or len(domain) + len(path) > 255:
        raise _bad(text)
    return Reference(domain, path)


def _bad(text: str) -> InvalidArgument:
    return InvalidArgument(
        "invalid reference format", hint=f"{text[:120]!r} is not NAME[:TAG|@sha256:DIGEST]"
    )
