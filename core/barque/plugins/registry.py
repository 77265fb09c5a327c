"""The engine's set of loaded drivers: one pluggy manager, never a global."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from typing import Any

import pluggy

from barque.plugins.configs import build_config
from barque.plugins.discovery import FoundDriver, find, load_class
from barque.plugins.kinds import KINDS, Kind
from barque.spi.errors import BarqueError, Internal

__all__ = ["LoadedDriver", "Registry"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedDriver:
    """A driver under its instance name in the profile. `config` is the validated dataclass it was given."""

    kind: Kind
    name: str
    found: FoundDriver
    config: Any
    instance: Any

    @property
    def capabilities(self) -> frozenset[str]:
        """What it declares it can do."""
        return frozenset(str(c) for c in getattr(self.instance, "capabilities", frozenset()))

    @property
    def label(self) -> str:
        """For messages: what a user would call it."""
        return f"{self.kind.name} driver {self.name!r} ({self.found.distribution} {self.found.version})"


class Registry:
    """Loads drivers and dispatches hooks to them. Thread-safe."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("barque")
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], LoadedDriver] = {}
        spec = pluggy.HookspecMarker("barque")
        for kind in KINDS:
            hooks = kind.hooks()
            for name in kind.hook_names():
                function = vars(hooks)[name]
                if not hasattr(function, "barque_spec"):
                    spec(function, firstresult=True)
            self._manager.add_hookspecs(hooks)

    def load(
        self, kind: Kind, name: str, driver: str, options: Mapping[str, Any], root: Path | None
    ) -> LoadedDriver:
        """Find, import, configure, check and register driver `driver` as instance `name`.

        Errors: NotFound, Conflict, FailedPrecondition (import), InvalidArgument (options), Internal (its hooks
        do not fit the contract). Loading the same instance twice returns the first.
        """
        with self._lock:
            known = self._loaded.get((kind.name, name))
            if known:
                return known
            found = find(kind, driver)
            cls = load_class(found)
            config = build_config(cls, options, f"{kind.name}.{name}")
            loaded = LoadedDriver(kind, name, found, config, self._construct(cls, found, name, config, root))
            self._register(loaded)
            self._loaded[kind.name, name] = loaded
            return loaded

    def call(self, loaded: LoadedDriver, hook: str, **arguments: Any) -> Any:
        """Call one hook of one driver. A foreign exception becomes Internal with plugin and cause."""
        others = [d.instance for d in self._loaded.values() if d.kind is loaded.kind and d is not loaded]
        try:
            return self._manager.subset_hook_caller(hook, others)(**arguments)
        except BarqueError as error:
            # pluggy's frame has the error: by its traceback the two would hold each other, and whatever the arguments have open.
            clear_frames(error.__traceback__)
            raise
        except Exception as error:
            clear_frames(error.__traceback__)
            raise Internal(
                f"{loaded.label} failed in {hook}: {type(error).__name__}: {error}",
                hint="this is a defect of the plugin; the daemon's log has the traceback",
            ) from error

    def _construct(self, cls: type, found: FoundDriver, name: str, config: Any, root: Path | None) -> Any:
        arguments = (name, config, str(root)) if found.kind.rooted else (name, config)
        try:
            return cls(*arguments)
        except BarqueError:
            raise
        except Exception as error:
            raise Internal(
                f"{found.kind.name} driver {name!r} of {found.distribution} cannot be constructed: "
                f"{type(error).__name__}: {error}",
                hint="this is a defect of the plugin",
            ) from error

    def _register(self, loaded: LoadedDriver) -> None:
        problems = list(_contract_problems(loaded))
        if problems:
            raise Internal(
                f"{loaded.label} does not fit the contract: {'; '.join(problems)}",
                hint=f"see the hook specifications in {loaded.kind.spec.partition(':')[0]}",
            )
        try:
            self._manager.register(loaded.instance, name=f"{loaded.kind.name}:{loaded.name}")
        except pluggy.PluginValidationError as error:
            raise Internal(f"{loaded.label}: {error}", hint="this is a defect of the plugin") from error


def _contract_problems(loaded: LoadedDriver) -> list[str]:
    """Unknown, missing and wrongly signed hooks, each named with the remedy."""
    hooks = loaded.kind.hooks()
    known = set(loaded.kind.hook_names())
    marked = {
        name
        for name, member in inspect.getmembers(type(loaded.instance), callable)
        if hasattr(member, "barque_impl")
    }
    problems = [
        f"{name} is no hook of kind {loaded.kind.name} (misspelt?)" for name in sorted(marked - known)
    ]
    problems += [
        f"{name} is missing (mark it with @hookimpl)"
        for name in sorted(known - marked)
        if getattr(getattr(hooks, name), "barque_needs", None) in (None, *loaded.capabilities)
    ]
    for name in sorted(marked & known):
        wanted = list(inspect.signature(getattr(hooks, name)).parameters)[1:]
        given = list(inspect.signature(getattr(type(loaded.instance), name)).parameters)[1:]
        if given != wanted:
            problems.append(f"{name}({', '.join(given)}) should be {name}({', '.join(wanted)})")
    return problems
