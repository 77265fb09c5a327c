"""Repository names in requests: taken apart, checked, and written in full (the distribution project's reference grammar)."""

from __future__ import annotations

import re

from barque.spi.errors import InvalidArgument
from barque_api_docker.translate.text import familiar_name

__all__ = ["check_repository", "check_tag", "full_repository", "split_name"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_OFFICIAL = "library/"


def split_name(reference: str) -> tuple[str, str, str]:
    """(repository, tag, digest); what is absent is empty."""
    name, _, digest = reference.partition("@")
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        return name[:colon], name[colon + 1 :], digest
    return name, "", digest


def full_repository(repository: str) -> str:
    """`docker.io/library/alpine` for `alpine`."""
    domain, path = _split_domain(repository)
    return f"{domain or 'docker.io'}/{path}" if domain or "/" in path else f"docker.io/{_OFFICIAL}{path}"


def check_repository(repository: str) -> str:
    """`repository` in Docker's short form. Errors: InvalidArgument in dockerd's words."""
    path = _split_domain(repository)[1]
    if _PATH.fullmatch(path):
        return familiar_name(repository)
    if _PATH.fullmatch(path.lower()):
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    raise InvalidArgument("invalid reference format")


def check_tag(tag: str) -> str:
    """`tag` itself. Errors: InvalidArgument."""
    if not _TAG.fullmatch(tag):
        raise InvalidArgument(f'invalid tag: "{tag}"')
    return tag


def _split_domain(repository: str) -> tuple[str, str]:
    """A registry's host is what has a dot, a colon or a capital, or is `localhost`; anything else is a part of the path."""
    first, slash, rest = repository.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return (first, rest) if is_host else ("", repository)
