"""Image names in archives: read by Docker's reference grammar, completed by its defaults.

A name from an archive is always a registry's: `deb:bash` in RepoTags becomes `docker.io/library/deb:bash`, never a reference with a scheme.
"""

from __future__ import annotations

import re

from barque.spi.errors import InvalidArgument

__all__ = ["canonical", "familiar", "is_digest", "split_tag"]

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_WORD}(?:/{_WORD})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HUB = "docker.io"
_LONGEST = 255


def canonical(text: str) -> str:
    """`alpine` -> `docker.io/library/alpine:latest`. Errors: InvalidArgument `invalid reference format` (digests too: an archive
    cannot vouch for a repository)."""
    repository, tag = split_tag(text)
    host, path = _split_host(repository)
    well_formed = _HOST.fullmatch(host) and _PATH.fullmatch(path) and _TAG.fullmatch(tag or "latest")
    if not well_formed or len(host) + len(path) > _LONGEST:
        raise InvalidArgument("invalid reference format", hint=f"{text[:120]!r} is no image name with a tag")
    return f"{host}/{path}:{tag or 'latest'}"


def familiar(name: str) -> str:
    """A canonical name as Docker shows it."""
    short = name.removeprefix(f"{_HUB}/")
    return short.removeprefix("library/") if short.count("/") == 1 and short != name else short


def is_digest(text: object) -> bool:
    """Whether `text` is a sha256 digest in its only accepted form."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def split_tag(text: str) -> tuple[str, str]:
    """Repository, and tag or ""."""
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (text, "")


def _split_host(repository: str) -> tuple[str, str]:
    first, slash, others = repository.partition("/")
    if not (slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())):
        first, others = _HUB, repository
    if first in ("index.docker.io", "registry-1.docker.io"):
        first = _HUB
    if first == _HUB and "/" not in others:
        others = f"library/{others}"
    return first, others
