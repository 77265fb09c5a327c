"""Image references as `docker pull` reads them (the distribution project's reference grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["Reference", "is_digest", "is_path", "is_tag", "names_host", "parse"]

_DOCKER_IO = "docker.io"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_WORD}(?:/{_WORD})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_NAME = 255
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Reference:
    """A complete reference: `tag` or `digest` is set; when both were written, the digest counts."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def endpoint(self) -> str:
        """The host and port that serve the repository."""
        return "registry-1.docker.io" if self.host == _DOCKER_IO else self.host

    @property
    def is_docker_hub(self) -> bool:
        return self.host == _DOCKER_IO

    @property
    def pointer(self) -> str:
        """What follows `/manifests/` in the URL."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """The canonical name: `docker.io/library/alpine:latest`, or by digest."""
        return f"{self.host}/{self.path}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def familiar_repository(self) -> str:
        """The repository in Docker's messages: `alpine`, `user/app`, `ghcr.io/a/b`."""
        if not self.is_docker_hub:
            return f"{self.host}/{self.path}"
        head, slash, tail = self.path.partition("/")
        return tail if head == "library" and slash and "/" not in tail else self.path

    @property
    def familiar(self) -> str:
        return self.familiar_repository + (f"@{self.digest}" if self.digest else f":{self.tag}")


def is_digest(text: object) -> bool:
    """Whether `text` is a sha256 digest in its canonical form. No other algorithm is accepted anywhere."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Whether `text` can be a repository's name within its registry."""
    return len(text) <= _LONGEST_NAME and _PATH.fullmatch(text) is not None


def names_host(first: str) -> bool:
    """Whether what stands before the first slash is a registry's host."""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def parse(text: str) -> Reference:
    """Read and complete a reference. InvalidArgument: `invalid reference format`."""
    if len(text) > _LONGEST:
        raise _bad(text)
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _bad(text)
    if re.fullmatch(r"[0-9a-f]{64}", rest):
        raise InvalidArgument(
            f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings",
            hint="an image id cannot be pulled",
        )
    tag = ""
    if ":" in rest.rpartition("/")[2]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise _bad(text)
    host, path = _split_host(rest)
    if not _PATH.fullmatch(path) and _PATH.fullmatch(path.lower()):
        shown = path.removeprefix("library/")
        raise InvalidArgument(f"invalid reference format: repository name ({shown}) must be lowercase")
    if not _PATH.fullmatch(path) or not _HOST.fullmatch(host) or not _port_is_valid(host):
        raise _bad(text)
    if len(host) + 1 + len(path) > _LONGEST_NAME:
        raise InvalidArgument(
            f"invalid reference format: repository name must not be more than {_LONGEST_NAME} characters"
        )
    return Reference(host, path, "" if digest else tag or "latest", digest)


def _split_host(rest: str) -> tuple[str, str]:
    first, slash, others = rest.partition("/")
    host, path = (first, others) if slash and names_host(first) else (_DOCKER_IO, rest)
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = _DOCKER_IO
    if host == _DOCKER_IO and "/" not in path:
        path = f"library/{path}"
    return host, path


def _port_is_valid(host: str) -> bool:
    port = re.search(r":([0-9]+)$", host)
    return port is None or host.endswith("]") or 0 < int(port[1]) < 65536


def _bad(text: str) -> InvalidArgument:
    return InvalidArgument(
        "invalid reference format", hint=f"{text[:128]!r} is not NAME[:TAG|@sha256:DIGEST]"
    )
