"""Command lines that run a function of a module in a Python process of its own."""

from __future__ import annotations

import importlib.util
import os
import sys

from barque.spi.errors import FailedPrecondition

__all__ = ["command"]

_PACKAGES = ("barque", "isal", "zstandard")
_BOOT = (
    "import sys; sys.path[:0] = sys.argv[2:-1]; from importlib import import_module; "
    "import_module(sys.argv[1]).main(sys.argv[-1])"
)


def command(module: str) -> list[str]:
    """The argv that, with an argument appended, calls `module.main(argument)`. Isolated (-I -S -E): no environment variable, user directory or
    current directory decides what is imported, only where this process found the packages."""
    return [sys.executable, "-I", "-S", "-E", "-c", _BOOT, module, *_search_path(module.partition(".")[0])]


def _search_path(owner: str) -> list[str]:
    found: dict[str, None] = {}
    for package in dict.fromkeys((*_PACKAGES, owner)):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise FailedPrecondition(f"the Python package {package} is missing", hint="install barque again")
        found[os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))] = None
    return list(found)
