"""The kinds of driver there are: name, entry-point group, hook specification."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["KINDS", "Kind", "kind_named"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `spec` is `module:class` of its hooks; `rooted` drivers are given a directory of their own."""

    name: str
    spec: str
    rooted: bool = False

    @property
    def group(self) -> str:
        """The entry-point group, versioned."""
        return f"barque.{self.name}.v1"

    def hooks(self) -> type:
        """The class whose methods are the hook specifications."""
        module, _, attribute = self.spec.partition(":")
        found: type = getattr(importlib.import_module(module), attribute)
        return found

    def hook_names(self) -> tuple[str, ...]:
        """The names of all hooks, in the order they are written."""
        prefix = f"{self.name}_"
        return tuple(
            n for n, f in vars(self.hooks()).items() if n.startswith(prefix) and inspect.isfunction(f)
        )


KINDS: tuple[Kind, ...] = (
    Kind("runtime", "barque.spi.runtime:RuntimeHooks"),
    Kind("network", "barque.spi.network:NetworkHooks"),
    Kind("storage", "barque.spi.storage:StorageHooks", rooted=True),
    Kind("image", "barque.spi.image:ImageHooks", rooted=True),
    Kind("volume", "barque.spi.volume:VolumeHooks", rooted=True),
    Kind("log", "barque.spi.log:LogHooks"),
    Kind("authorization", "barque.spi.authorization:AuthorizationHooks"),
    Kind("frontend", "barque.spi.frontend:FrontendHooks"),
)


def kind_named(name: str) -> Kind:
    """The kind called `name`. Errors: InvalidArgument."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    known = ", ".join(k.name for k in KINDS)
    raise InvalidArgument(f"{name!r} is not a kind of plugin", hint=f"the kinds are {known}")
