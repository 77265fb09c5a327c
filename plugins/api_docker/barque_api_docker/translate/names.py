"""Repository names in requests: taken apart, checked, and written in full (the distribution project's reference grammar)."""

from __future__ import annotations

import re

from barque.spi.errors import InvalidArgument
from barque_api_docker.translate.text import familiar_name

__all__ = ["check_repository", "check_tag", "full_repository", "shown_name", "split_name"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_OFFICIAL = "library/"
_DOCKER_HUB = "docker.io"


def split_name(reference: str) -> tuple[str, str, str]:
    """(repository, tag, digest); what is absent is empty."""
    name, _, digest = reference.partition("@")
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        return name[:colon], name[colon + 1 :], digest
    return name, "", digest


def shown_name(name: str, default_registry: str) -> str:
    """A name as the engine shows it: Docker Hub's short, the default registry's without its host unless the rest would be read as one."""
    if default_registry == _DOCKER_HUB:
        return familiar_name(name)
    short = name.removeprefix(f"{default_registry}/")
    return familiar_name(name) if short == name or _split_domain(short)[0] else short


def full_repository(repository: str, default_registry: str = _DOCKER_HUB) -> str:
    """Where it leads: `docker.io/library/alpine` for `alpine`, or `registry.example/alpine` by the default registry."""
    short = shown_name(repository, default_registry)
    if _split_domain(short)[0]:
        return short
    official = default_registry == _DOCKER_HUB and "/" not in short
    return f"{default_registry}/{_OFFICIAL if official else ''}{short}"


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
        raise InvalidArgument("invalid tag format", hint=f"{tag} is none")
    return tag


def _split_domain(repository: str) -> tuple[str, str]:
    """A registry's host is what has a dot, a colon or a capital, or is `localhost`; anything else is a part of the path."""
    first, slash, rest = repository.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return (first, rest) if is_host else ("", repository)
