"""apt with a state of its own: nothing of the host's dpkg or apt state is read or written.

An empty dpkg status makes every dependency count as missing, so the answer is complete and the same on every host.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from barque.spi.errors import (
    BarqueError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from barque_image_deb.aptconf import configuration, environment, host_options
from barque_image_deb.process import Finished, run
from barque_image_deb.sources import Source, render

__all__ = ["Apt", "Archive", "require_apt"]

_URI_LINE = re.compile(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")
_MISSING = re.compile(
    r"E: (?:Unable to locate package |Package '|Couldn't find any package by \w+ ')([a-z0-9][a-z0-9+.-]*)"
)
_SUMMARIES = (
    "E: Some index files failed",
    "E: Unable to fetch some archives",
    "E: Failed to fetch some archives",
)
_FULL = ("No space left on device", "enough free space")
_UNSIGNED = ("is not signed", "NO_PUBKEY", "EXPKEYSIG", "verification of the signatures", "gpgv")


@dataclass(frozen=True, slots=True)
class Archive:
    """One .deb as the signed index describes it. `file` is its name in apt's archive cache."""

    file: str
    size: int
    sha256: str

    @property
    def package(self) -> str:
        return self.file.split("_", 1)[0]

    @property
    def version(self) -> str:
        return unquote(self.file.split("_")[1])


def require_apt() -> str:
    """The path of apt-get. FailedPrecondition where the host has none."""
    path = shutil.which("apt-get", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise FailedPrecondition(
            "the deb image source needs apt-get, and this host has none",
            hint="use a Debian or Ubuntu host, install the package apt, or take the image from a registry",
        )
    return path


class Apt:
    """apt for one suite and architecture, its state below `state` (made when missing). `preferred`: the suite among several of
    `sources` whose packages are taken where it has them.

    Not safe for two callers at once on one `state`: hold a lock. `cancelled` stops a running apt within a second.
    """

    def __init__(
        self,
        state: Path,
        architecture: str,
        sources: tuple[Source, ...],
        cancelled: Callable[[], bool],
        preferred: str = "",
    ) -> None:
        self._program = require_apt()
        self._state = state
        self._architecture = architecture
        self._sources = render(sources)
        self._cancelled = cancelled
        self._preferred = preferred
        self.archives = state / "archives"

    def refresh(self, max_age: float) -> bool:
        """Fetch the package lists when they are older than `max_age` seconds or of other sources. True when they were fetched."""
        stamp = self._state / "updated"
        if self._fresh(stamp, max_age):
            return False
        self._prepare()
        result = self._run("update")
        if result.code:
            stamp.unlink(missing_ok=True)
            error = _update_error(result)
            if isinstance(error, ResourceExhausted):
                lists = self._state / "lists"
                _remove_files([*lists.iterdir(), *(lists / "partial").iterdir()], set())
            raise error
        stamp.write_text(self._fingerprint())
        return True

    def snapshot(self) -> str:
        """Changes when the package lists were fetched anew."""
        return f"{self._fingerprint()}:{(self._state / 'updated').stat().st_mtime_ns}"

    def codename(self, suite: str) -> str:
        """The codename the archive's Release file gives `suite` (`bookworm` for `stable`), or empty."""
        result = self._run("indextargets", "--format", "$(RELEASE) $(CODENAME)", "Created-By: Packages")
        named = dict(line.split(" ", 1) for line in result.output.splitlines() if " " in line)
        return named.get(suite, "").strip()

    def resolve(self, packages: tuple[str, ...]) -> tuple[Archive, ...]:
        """The archives of `packages` and all they depend on, sorted by file name.

        Errors: NotFound names the unknown package, InvalidArgument when they cannot be installed together.
        """
        # With an empty archive directory, because apt does not print what it has downloaded already.
        option = f"Dir::Cache::archives={self._state / 'none'}"
        result = self._run("install", "--print-uris", "-q", "-y", "-o", option, *packages)
        if result.code:
            raise _resolve_error(result, packages)
        found = [
            Archive(name, int(size), sha256)
            for _uri, name, size, sha256 in (
                match.groups() for match in map(_URI_LINE.fullmatch, result.output.splitlines()) if match
            )
        ]
        missing = set(packages).difference(archive.package for archive in found)
        if missing:
            raise NotFound(
                f"Unable to locate package {min(missing)}",
                hint="it is a virtual package; name one that provides it",
            )
        return tuple(sorted(found, key=lambda archive: archive.file))

    def download(self, packages: tuple[str, ...], watch: Callable[[], None]) -> None:
        """Fetch the archives of `packages` and their dependencies into `archives`, calling `watch` now and then. Resumes. On a disk
        that is full nothing stays of what came. Errors: ResourceExhausted, Unavailable."""
        before = set(self.archives.iterdir())
        result = self._run("install", "--download-only", "-qq", "-y", *packages, watch=watch)
        if result.code:
            error = _failed(result, "downloading packages")
            if isinstance(error, ResourceExhausted):
                _remove_files([*self.archives.iterdir(), *(self.archives / "partial").iterdir()], before)
            raise error

    def _fresh(self, stamp: Path, max_age: float) -> bool:
        try:
            age = time.time() - stamp.stat().st_mtime
            return 0 <= age < max_age and stamp.read_text() == self._fingerprint()
        except FileNotFoundError:
            return False

    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self._architecture}\n{self._sources}".encode()).hexdigest()

    def _prepare(self) -> None:
        for name in ("lists/partial", "archives/partial", "none/partial", "cache"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        (self._state / "status").write_text("")
        (self._state / "barque.sources").write_text(self._sources)
        options = host_options(self._program, self._cancelled)
        (self._state / "apt.conf").write_text(
            configuration(self._state, self._architecture, self._preferred, options)
        )

    def _run(self, *arguments: str, watch: Callable[[], None] = lambda: None) -> Finished:
        return run((self._program, *arguments), environment(self._state / "apt.conf"), self._cancelled, watch)


def _remove_files(paths: list[Path], but: set[Path]) -> None:
    for path in paths:
        if path not in but and path.is_file():
            path.unlink()


def _failed(result: Finished, doing: str) -> ResourceExhausted | Unavailable:
    """Why apt could not fetch: the disk, or the mirror."""
    if any(sign in result.errors for sign in _FULL):
        return ResourceExhausted(
            f"{doing}: No space left on device ({_last_error(result)})",
            hint="free space on the data root's file system (`barque system df`)",
        )
    return Unavailable(
        f"{doing}: {_last_error(result)}", hint="check the mirror and the network, then pull again"
    )


def _update_error(result: Finished) -> BarqueError:
    text = result.errors
    if any(sign in text for sign in _UNSIGNED):
        return FailedPrecondition(
            f"apt does not trust the mirror: {_last_error(result)}",
            hint="set `keyring` of the deb image source",
        )
    if "does not have a Release file" in text:
        return NotFound(
            f"no such suite: {_last_error(result)}", hint="check the suite after @, or set `mirror`"
        )
    return _failed(result, "updating package lists")


def _resolve_error(result: Finished, packages: tuple[str, ...]) -> NotFound | InvalidArgument | Internal:
    named = _MISSING.search(result.errors)
    if named and named[1] in packages:
        return NotFound(f"Unable to locate package {named[1]}", hint="check its name and the suite after @")
    if "held broken packages" in result.errors or "unmet dependencies" in result.output:
        detail = "; ".join(
            line.strip() for line in result.output.splitlines() if "Depends" in line or "Conflicts" in line
        )
        return InvalidArgument(
            f"these packages cannot be installed together: {detail or _last_error(result)}"[:2000]
        )
    return Internal(f"apt-get failed: {_last_error(result)}")


def _last_error(result: Finished) -> str:
    """The last error line of apt that says why, less its `E: `; else its last warning."""
    lines = [line for line in result.errors.splitlines() if line.strip() and not line.startswith(_SUMMARIES)]
    for mark in ("E: ", "W: ", ""):
        found = [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)]
        if found:
            return found[-1]
    return f"exit status {result.code}"
