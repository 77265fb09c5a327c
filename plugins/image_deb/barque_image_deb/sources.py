"""The host's apt sources, read and cut down to one suite (sources.list(5), deb822 and one-line format)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = [
    "Source",
    "host_codename",
    "parse_deb822",
    "parse_one_line",
    "read_host",
    "released",
    "render",
    "select",
]

_LARGEST_FILE = 1 << 20
# Names a host's sources may use for its release instead of the codename, and suites without update pockets.
_ALIASES = frozenset({"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "experimental"})
_ROLLING = frozenset({"sid", "unstable", "experimental", "rc-buggy"})
_BACKPORTS = "-backports"
_POCKETS = ("", "-updates", "-security", "/updates")


@dataclass(frozen=True, slots=True)
class Source:
    """Archives of binary packages: every URI with every suite.

    `signed_by` is a key file, a fingerprint or an inline key; empty: apt's trusted keys.
    """

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    check_valid_until: str = ""


def read_host(etc: Path = Path("/etc/apt")) -> tuple[Source, ...]:
    """All enabled sources of binary packages below `etc`. An unreadable file counts as empty: apt itself will say what is wrong with it."""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    found: list[Source] = []
    for path in files:
        found += parse_one_line(_text(path))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        found += parse_deb822(_text(path))
    return tuple(found)


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources of lines `deb [option=value …] uri suite component…`."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if not match:
            continue
        options, uri, suite, components = match.groups()
        values = dict(part.split("=", 1) for part in _words(options or "") if "=" in part)
        yield Source(
            (uri,),
            (suite,),
            tuple(components.split()),
            values.get("signed-by", ""),
            values.get("check-valid-until", ""),
        )


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of the stanzas of a `.sources` file."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _stanza(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        yield Source(
            tuple(fields.get("uris", "").split()),
            tuple(fields.get("suites", "").split()),
            tuple(fields.get("components", "").split()),
            fields.get("signed-by", ""),
            fields.get("check-valid-until", ""),
        )


def select(sources: Iterable[Source], suite: str, codename: str) -> tuple[Source, ...]:
    """What of the host's `sources` serves `suite` with its updates and security pockets.

    A suite the host does not use itself (`trixie` on a bookworm host) comes from the mirrors the host uses for
    its own release `codename`. Backports come with the release that they are made for. Empty when the host has no such mirror.
    """
    archives = [source for source in sources if "main" in source.components]
    base = released(suite)
    if base != suite:
        return _with_backports(archives, base, suite, codename)
    direct = _restricted(archives, suite)
    if any(suite in source.suites for source in direct):
        return tuple(direct)
    for known in (codename, *sorted(_ALIASES)):
        own = _restricted(archives, known) if known else []
        if any(known in source.suites for source in own):
            return tuple(_renamed(own, known, suite))
    return ()


def released(suite: str) -> str:
    """The release that `suite` adds to: `bookworm` for `bookworm-backports`; any other suite itself."""
    return suite.removesuffix(_BACKPORTS)


def _with_backports(archives: list[Source], base: str, suite: str, codename: str) -> tuple[Source, ...]:
    release = select(archives, base, codename)
    own = tuple(replace(source, suites=(suite,)) for source in archives if suite in source.suites)
    if own:
        return (*release, *own)
    return tuple(
        replace(source, suites=(*source.suites, suite)) if base in source.suites else source
        for source in release
    )


def _restricted(sources: Iterable[Source], suite: str) -> list[Source]:
    wanted = {suite + pocket for pocket in _POCKETS}
    cut = [
        replace(source, suites=tuple(name for name in source.suites if name in wanted)) for source in sources
    ]
    return [source for source in cut if source.suites]


def _renamed(sources: Iterable[Source], known: str, suite: str) -> Iterator[Source]:
    for source in sources:
        pockets = [name.removeprefix(known) for name in source.suites]
        names = tuple(suite + pocket for pocket in pockets if not (pocket and suite in _ROLLING))
        if names:
            yield replace(source, suites=names)


def render(sources: Iterable[Source]) -> str:
    """The `.sources` file for apt. Options that weaken verification (`trusted=yes` …) have no way into it."""
    stanzas = []
    for source in sources:
        lines = [
            "Types: deb",
            f"URIs: {' '.join(_copied(uri) for uri in source.uris)}",
            f"Suites: {' '.join(source.suites)}",
            f"Components: {' '.join(source.components)}",
        ]
        if source.signed_by:
            lines.append("Signed-By: " + source.signed_by.replace("\n", "\n "))
        if source.check_valid_until:
            lines.append(f"Check-Valid-Until: {source.check_valid_until}")
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def _copied(uri: str) -> str:
    """apt leaves archives of `file:` where they are; with its method `copy` they come into our cache like all others."""
    return f"copy:{uri.removeprefix('file:')}" if uri.startswith("file:") else uri


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """VERSION_CODENAME of the host (os-release(5)), or empty."""
    for line in _text(os_release).splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip().strip("\"'")
    return ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def _words(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError:
        return options.split()


def _stanza(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if key:
                fields[key] += "\n" + line.strip()
            continue
        name, _, value = line.partition(":")
        key = name.strip().lower()
        fields[key] = value.strip()
    return fields
