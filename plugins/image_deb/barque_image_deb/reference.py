"""The grammar of `PACKAGE[,PACKAGE…][@SUITE]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["PackageSet", "parse"]

# Debian Policy 5.6.1. A trailing `-` is left out because `apt-get install name-` means removal, a trailing `.` because no package has one.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{0,126}[a-z0-9+]")
_SUITE = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_MOST_PACKAGES = 256


@dataclass(frozen=True, slots=True)
class PackageSet:
    """Packages, sorted and without doubles, and the suite they come from (empty: the default one)."""

    packages: tuple[str, ...]
    suite: str = ""

    def __str__(self) -> str:
        return ",".join(self.packages) + (f"@{self.suite}" if self.suite else "")


def parse(reference: str) -> PackageSet:
    """Read a reference. InvalidArgument names the part that is wrong."""
    names, at, suite = reference.partition("@")
    packages = sorted({name.strip(" ") for name in names.split(",")})
    if len(packages) > _MOST_PACKAGES:
        raise InvalidArgument(f"invalid reference format: more than {_MOST_PACKAGES} packages")
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise InvalidArgument(
                f"invalid reference format: {package[:128]!r} is not the name of a Debian package",
                hint="write deb:PACKAGE[,PACKAGE...][@SUITE]",
            )
    if at and not _SUITE.fullmatch(suite):
        raise InvalidArgument(f"invalid reference format: {suite[:64]!r} is not the name of a suite")
    return PackageSet(tuple(packages), suite)
