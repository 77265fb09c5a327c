"""Debian's names of architectures, and the one platform that each of them is (OCI image-spec, "variants"; wiki.debian.org/Multiarch/Tuples)."""

from __future__ import annotations

from barque.spi import Platform
from barque.spi.errors import NotFound

__all__ = ["debian", "platform"]

_DEBIAN = {
    "amd64": "amd64", "386": "i386", "arm64": "arm64", "arm": "armhf", "ppc64le": "ppc64el",
    "s390x": "s390x", "riscv64": "riscv64", "mips64le": "mips64el", "loong64": "loong64",
}  # fmt: skip
_VARIANTS = {"armhf": "v7", "armel": "v5", "arm64": "v8"}


def debian(wanted: Platform) -> str:
    """Debian's name of the architecture. NotFound for what Debian has not."""
    name = _DEBIAN.get(wanted.architecture)
    if wanted.architecture == "arm" and wanted.variant in ("v5", "v6"):
        name = "armel"
    if wanted.os != "linux" or name is None:
        raise NotFound(
            f"no matching manifest for {wanted} in the manifest list entries: Debian has no such architecture"
        )
    return name


def platform(wanted: Platform) -> Platform:
    """What an image for `wanted` says it is for: however it was asked for (`arm`, `arm/v7`), the same packages are the same image."""
    return Platform("linux", wanted.architecture, _VARIANTS.get(debian(wanted), ""))
