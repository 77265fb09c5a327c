"""Finding driver classes by entry point.

stevedore keeps a cache of entry points below $XDG_CACHE_HOME that it believes blindly; an attacker who can
write there, or set the variable, decides what root imports. So the entry points are read by `importlib.metadata`
and given to stevedore, which then never looks at its cache.
"""

from __future__ import annotations

import functools
import importlib.metadata
from dataclasses import dataclass

from barque.plugins.kinds import KINDS, Kind
from barque.spi.errors import BarqueError, Conflict, FailedPrecondition, Internal, NotFound

__all__ = ["FoundDriver", "find", "found_drivers", "load_class"]


@dataclass(frozen=True, slots=True)
class FoundDriver:
    """An installed driver: entry point and the distribution it comes from."""

    kind: Kind
    name: str
    module: str
    attribute: str
    distribution: str
    version: str


@functools.cache
def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Those of all our groups, read once a process: the scan of all distributions costs 10 ms."""
    groups = {kind.group for kind in KINDS}
    points: dict[tuple[str, str, str, str], importlib.metadata.EntryPoint] = {}
    for distribution in importlib.metadata.distributions():
        for point in distribution.entry_points:
            if point.group in groups:
                points.setdefault((distribution.name, point.group, point.name, point.value), point)
    return tuple(points.values())


def found_drivers(kind: Kind | None = None) -> tuple[FoundDriver, ...]:
    """All installed drivers (of one kind), by kind and name; nothing of them is imported."""
    kinds = {k.group: k for k in ((kind,) if kind else KINDS)}
    seen: dict[tuple[str, str, str, str], FoundDriver] = {}
    for point in _entry_points():
        wanted = kinds.get(point.group)
        if wanted is None:
            continue
        name, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
        key = (wanted.name, point.name, point.value, name)
        seen[key] = FoundDriver(wanted, point.name, point.module, point.attr, name, version)
    return tuple(sorted(seen.values(), key=lambda d: (d.kind.name, d.name, d.distribution)))


def find(kind: Kind, name: str) -> FoundDriver:
    """The one driver `name` of `kind`. Errors: NotFound, Conflict when two distributions bring it."""
    drivers = found_drivers(kind)
    matches = [d for d in drivers if d.name == name]
    if not matches:
        known = ", ".join(sorted({d.name for d in drivers})) or "none"
        raise NotFound(
            f"no {kind.name} driver {name!r} is installed",
            hint=f"installed {kind.name} drivers: {known}; install the distribution that brings {name!r} with "
            f"`pip install`, or change `driver` in the profile",
        )
    if len(matches) > 1:
        owners = ", ".join(f"{d.distribution} {d.version} ({d.module}:{d.attribute})" for d in matches)
        raise Conflict(
            f"{len(matches)} distributions bring a {kind.name} driver {name!r}: {owners}",
            hint="uninstall all but one of them with `pip uninstall`",
        )
    return matches[0]


def load_class(found: FoundDriver) -> type:
    """Import the driver's class. Errors: FailedPrecondition (its module does not import), Internal (not a class)."""
    from stevedore.driver import DriverManager

    group = found.kind.group
    DriverManager.ENTRY_POINT_CACHE[group] = [point for point in _entry_points() if point.group == group]
    label = f"{found.kind.name} driver {found.name!r} of {found.distribution} {found.version}"
    try:
        manager: DriverManager[object] = DriverManager(group, found.name, on_load_failure_callback=_reraise)
    except BarqueError:
        raise
    except Exception as error:
        raise FailedPrecondition(
            f"{label} cannot be imported: {type(error).__name__}: {error}",
            hint=f"reinstall it with `pip install --force-reinstall {found.distribution}`, or repair {found.module}",
        ) from error
    loaded = manager.driver
    if not isinstance(loaded, type):
        raise Internal(
            f"{label}: {found.module}:{found.attribute} is not a class", hint="tell the plugin's author"
        )
    return loaded


def _reraise(_manager: object, _point: object, error: BaseException) -> None:
    raise error
