"""Resolve a package set: lists, dependencies, archives, layer; each step kept for the next time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from barque.spi import Progress
from barque.spi.errors import FailedPrecondition, ResourceExhausted, Unavailable
from barque.spi.image import ImageRequest
from barque_image_deb.apt import Apt, Archive, require_apt
from barque_image_deb.architectures import debian as debian_architecture
from barque_image_deb.builder import build
from barque_image_deb.cache import CachedLayer, LayerCache, prune
from barque_image_deb.reference import PackageSet, parse
from barque_image_deb.sources import Source, host_codename, read_host, released, select

__all__ = ["Resolution", "Resolver", "Settings"]

_ALIASES = frozenset({"stable", "oldstable", "oldoldstable", "testing", "unstable"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of the driver's config that decides what is resolved; see `plugin.Config`."""

    suite: str
    mirror: str
    security_mirror: str
    keyring: str
    components: tuple[str, ...]
    check_valid_until: bool
    lists_max_age: float
    cache_bytes: int
    max_size: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """A package set as it is today: requested packages with versions, the suite's codename, all archives, the layer."""

    requested: tuple[tuple[str, str], ...]
    suite: str
    archives: tuple[Archive, ...]
    layer: CachedLayer


class Resolver:
    """Works below `root`; any thread. One apt at a time for a suite and architecture, in this process or another."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root = root
        self._settings = settings
        self._layers = LayerCache(root / "layers")

    def suite(self, wanted: PackageSet) -> str:
        """The suite of the reference, else the configured one, else the host's own."""
        suite = wanted.suite or self._settings.suite or host_codename()
        if not suite:
            raise FailedPrecondition(
                "the deb image source does not know which suite to use", hint="write @SUITE, or set `suite`"
            )
        return suite

    def sources(self, suite: str) -> tuple[Source, ...]:
        """Where `suite` comes from: the configured mirror, else the host's."""
        settings = self._settings
        valid_until = "" if settings.check_valid_until else "no"
        if settings.mirror:
            components = settings.components or ("main",)
            base = released(suite)
            suites = tuple(dict.fromkeys((base, suite)))
            found = [Source((settings.mirror,), suites, components, settings.keyring, valid_until)]
            if settings.security_mirror:
                security = (f"{base}-security",)
                found.append(
                    Source((settings.security_mirror,), security, components, settings.keyring, valid_until)
                )
            return tuple(found)
        chosen = select(read_host(), suite, host_codename())
        if not chosen:
            raise FailedPrecondition(
                f"no apt source of this host serves {suite}",
                hint="set `mirror` and `keyring` of the deb image source",
            )
        return tuple(
            Source(
                source.uris,
                source.suites,
                settings.components or source.components,
                settings.keyring or source.signed_by,
                valid_until or source.check_valid_until,
            )
            for source in chosen
        )

    def resolve(self, request: ImageRequest) -> Resolution:
        """Everything `image_resolve` promises; idempotent, and quick when nothing has changed."""
        require_apt()
        _checker(request.cancelled)()
        wanted = parse(request.reference)
        suite = self.suite(wanted)
        debian = debian_architecture(request.platform)
        state = self._root / "apt" / f"{suite.replace('/', '_')}-{debian}"
        preferred = suite if released(suite) != suite else ""
        apt = Apt(state, debian, self.sources(suite), request.cancelled, preferred)
        try:
            with _locked(state, request.cancelled):
                _refresh(apt, self._settings.lists_max_age, request)
                archives, codename = _resolved(apt, state, wanted, suite, request)
                key = self._layers.key(debian, archives)
                layer = self._layers.get(key) or self._build(apt, state, key, archives, wanted, request)
        except OSError as error:
            raise _disk_error(error) from error
        versions = {archive.package: archive.version for archive in archives}
        return Resolution(
            tuple((name, versions[name]) for name in wanted.packages), codename, archives, layer
        )

    def _build(
        self,
        apt: Apt,
        state: Path,
        key: str,
        archives: tuple[Archive, ...],
        wanted: PackageSet,
        request: ImageRequest,
    ) -> CachedLayer:
        packages = f"{len(archives)} package{'s' if len(archives) > 1 else ''}"

        def report() -> None:
            have = _complete_bytes(apt.archives, archives)
            request.progress(Progress("", f"Downloading {packages}", have, total))

        total = sum(archive.size for archive in archives)
        report()
        if _complete_bytes(apt.archives, archives) < total:
            apt.download(wanted.packages, report)
        request.progress(Progress("", f"Unpacking {packages}"))
        work = state / "work"
        built = build(archives, apt.archives, work, self._settings.max_size, request.cancelled)
        layer = self._layers.put(key, built)
        for archive in archives:
            os.utime(apt.archives / archive.file)
        prune((self._root / "layers", apt.archives), self._settings.cache_bytes, frozenset({layer.path}))
        return layer


def _refresh(apt: Apt, max_age: float, request: ImageRequest) -> None:
    request.progress(Progress("", "Reading package lists"))
    apt.refresh(max_age)


def _resolved(
    apt: Apt, state: Path, wanted: PackageSet, suite: str, request: ImageRequest
) -> tuple[tuple[Archive, ...], str]:
    """apt's answer, remembered until the lists change."""
    snapshot = apt.snapshot()
    memory = state / "resolved" / hashlib.sha256(",".join(wanted.packages).encode()).hexdigest()
    try:
        kept = json.loads(memory.read_bytes())
        if kept["snapshot"] == snapshot:
            return tuple(Archive(*item) for item in kept["archives"]), kept["codename"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # none yet, or cut off by a crash: ask apt
    request.progress(Progress("", f"Resolving {wanted}"))
    archives = apt.resolve(wanted.packages)
    codename = (apt.codename(suite) if released(suite) in _ALIASES else "") or suite
    memory.parent.mkdir(exist_ok=True)
    answer = {
        "snapshot": snapshot,
        "codename": codename,
        "archives": [[a.file, a.size, a.sha256] for a in archives],
    }
    temporary = memory.with_suffix(".tmp")
    temporary.write_text(json.dumps(answer))
    os.rename(temporary, memory)
    return archives, codename


def _complete_bytes(directory: Path, archives: tuple[Archive, ...]) -> int:
    """Bytes of `archives` that are in `directory` or its `partial`."""
    total = 0
    for archive in archives:
        for path in (directory / archive.file, directory / "partial" / archive.file):
            try:
                total += min(path.stat().st_size, archive.size)
                break
            except FileNotFoundError:
                continue
    return total


def _checker(cancelled: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if cancelled():
            raise Unavailable("the pull was cancelled")

    return check


def _disk_error(error: OSError) -> ResourceExhausted | Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted(
            f"no space left for the deb image cache: {error}", hint="free space, or lower `cache_bytes`"
        )
    return Unavailable(f"deb image cache: {error}")


@contextmanager
def _locked(state: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """An exclusive flock on the state, waited for with an eye on `cancelled`."""
    state.mkdir(parents=True, exist_ok=True)
    check = _checker(cancelled)
    with (state / "lock").open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                time.sleep(0.05)
        yield
