"""Which of the storage drivers that a profile names is used: the first that works here, chosen once for a data root.

Chosen once, because images and containers are where the driver in use has them. A start asks no driver again.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from barque.engine.drivers import Drivers
from barque.engine.layout import Layout
from barque.spi.errors import BarqueError, FailedPrecondition
from barque.store.database import Database

__all__ = ["StorageChoice", "choose_storage"]

_log = logging.getLogger("barqued")


@dataclass(frozen=True, slots=True)
class StorageChoice:
    """The instance in use, and why it is not the profile's first (empty when it is)."""

    name: str
    because: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """For `info`."""
        if not self.because:
            return ()
        return (f"Storage driver {self.name} is in use, not the profile's first: {self.because}",)


def choose_storage(drivers: Drivers, layout: Layout, database: Database) -> StorageChoice:
    """Choose and tell `drivers`. Errors: FailedPrecondition when none works, with each one's reason."""
    section = drivers.profile.storage
    candidates = section.candidates
    if len(candidates) < 2:
        return StorageChoice(section.default)
    fact = f"storage of {','.join(candidates)}"
    choice = _remembered(database, fact, candidates)
    if choice is None:
        choice = _in_use(layout, candidates) or _probed(drivers, candidates)
        database.fact(fact, json.dumps({"use": choice.name, "because": choice.because}))
        _log.info("storage driver %s%s", choice.name, f": {choice.because}" if choice.because else "")
    drivers.storage_in_use = choice.name
    return choice


def _remembered(database: Database, fact: str, candidates: tuple[str, ...]) -> StorageChoice | None:
    with suppress(ValueError, KeyError, TypeError):
        document = json.loads(database.known_fact(fact) or "null")
        choice = StorageChoice(str(document["use"]), str(document["because"]))
        return choice if choice.name in candidates else None
    return None


def _in_use(layout: Layout, candidates: tuple[str, ...]) -> StorageChoice | None:
    """The driver that has something in this data root already, from before there was a choice."""
    for name in candidates:
        root = layout.driver("storage", name)
        with suppress(FileNotFoundError, NotADirectoryError):
            if any(_holds(place) for place in root.iterdir()):
                return StorageChoice(name)
    return None


def _holds(place: Path) -> bool:
    return place.is_dir() and next(place.iterdir(), None) is not None


def _probed(drivers: Drivers, candidates: tuple[str, ...]) -> StorageChoice:
    reasons = []
    hint = ""
    for name in candidates:
        try:
            fatal = [problem for problem in drivers.storage(name).probe().problems if problem.fatal]
        except BarqueError as error:  # it cannot even be made on this root
            reasons.append(f"{name}: {error.message}")
            hint = error.hint
            continue
        if not fatal:
            return StorageChoice(name, "; ".join(reasons))
        reasons.append(f"{name}: {fatal[0].what}")
        hint = fatal[0].remedy
    raise FailedPrecondition(f"no storage driver of the profile works here: {'; '.join(reasons)}", hint=hint)
