"""Image names as users write them."""

from __future__ import annotations

import re

__all__ = ["complaint", "familiar", "registry", "repository", "split", "strip_digest"]

_NAME = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
# Image sources that are no registries: what stands before the colon.
_OTHER_SOURCES = frozenset(("deb", "docker-archive", "oci"))
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")


def split(reference: str) -> tuple[str, str, str] | None:
    """(name, tag, digest), absent parts empty; None when it is not a registry's name.

    Names of other image sources (`deb:bash,coreutils@bookworm`, `oci:/path`) are the daemon's to understand.
    """
    if reference.partition(":")[0] in _OTHER_SOURCES:
        return None
    name, _, digest = reference.partition("@")
    tag = ""
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        name, tag = name[:colon], name[colon + 1 :]
        if not _TAG.fullmatch(tag):
            return None
    if not _NAME.fullmatch(name) or ("@" in reference and not _DIGEST.fullmatch(digest)):
        return None
    return name, tag, digest


def familiar(reference: str) -> str:
    """The name with its tag, as messages show it: `busybox` is `busybox:latest`."""
    parts = split(reference)
    if parts is None or parts[1] or parts[2]:
        return reference
    return f"{reference}:latest"


def strip_digest(reference: str) -> str:
    """The name without a digest, unless that is all it has besides the repository."""
    parts = split(reference)
    return f"{parts[0]}:{parts[1]}" if parts and parts[1] and parts[2] else reference


def complaint(reference: str) -> str:
    """Why `split` does not take the reference, in Docker's words."""
    name, _, _ = reference.partition(":")
    if split(reference.lower()) is None:
        return "invalid reference format"
    path = name if "/" in name else f"library/{name}"
    return f"invalid reference format: repository name ({path}) must be lowercase"


def repository(name: str) -> str:
    """The full name of a repository: `busybox` is `docker.io/library/busybox`."""
    host = registry(name)
    path = name.removeprefix(f"{host}/")
    return f"docker.io/library/{path}" if host == "docker.io" and "/" not in path else f"{host}/{path}"


def registry(name: str) -> str:
    """The registry's host of a repository name."""
    host, slash, _ = name.partition("/")
    if slash and (host == "localhost" or "." in host or ":" in host):
        return host
    return "docker.io"
