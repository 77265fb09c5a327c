"""Where a copy goes and what it is called there: `docker cp`'s rules, the same in both directions.

A source that ends in `/.` stands for what is in the directory. A destination that is a directory takes the source in under its own name;
one that is not there yet is the copy's new name.
"""

from __future__ import annotations

import os
import posixpath

from barque.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Target(NamedTuple):
        """A destination. `path`: links followed; `exists`, `directory`: what is there."""

        path: str
        exists: bool
        directory: bool
else:
    from collections import namedtuple

    Target = namedtuple("Target", "path exists directory")

__all__ = ["Target", "asserts_directory", "base_name", "local_target", "placed", "split_argument"]


def split_argument(argument: str) -> tuple[str, str]:
    """(container, path) of `CONTAINER:PATH`; the container is empty for a local path, which begins with `/` or `.` or has no colon."""
    container, colon, path = argument.partition(":")
    if not colon or argument.startswith(("/", ".")):
        return "", argument
    return container, path


def asserts_directory(path: str) -> bool:
    """Whether only a directory is meant: `a/`, `a/.`, `.`."""
    return path.endswith("/") or is_contents(path)


def is_contents(path: str) -> bool:
    """Whether what is in a directory is meant, and not itself."""
    return posixpath.basename(path) == "."


def base_name(path: str) -> str:
    """What a source is called in its archive: its last component, `.` for the contents of a directory."""
    return "." if is_contents(path) else posixpath.basename(posixpath.normpath(path)) or "."


def placed(name: str, directory: bool, target: Target) -> tuple[str, str]:
    """The directory to copy into, and the name there (`.`: all goes right into it), of a source called `name`. CliError: it does not fit."""
    if target.exists and target.directory:
        return target.path, name
    if target.exists and directory:
        raise CliError("cannot copy directory")
    if not target.exists and not directory and asserts_directory(target.path):
        raise CliError("no such directory")
    parent, base = posixpath.split(posixpath.normpath(target.path))
    return parent or ".", base


def local_target(path: str) -> Target:
    """A local destination. CliError: nothing can be put there."""
    absolute = os.path.abspath(path)
    parent = os.path.dirname(absolute)
    if not os.path.isdir(parent):
        raise CliError(f'invalid output path: directory "{parent}" does not exist')
    if path.endswith("/") and os.path.exists(absolute) and not os.path.isdir(absolute):
        raise CliError(f"stat {absolute}/: not a directory")
    if os.path.isdir(absolute):
        return Target(absolute, True, True)
    resolved = os.path.realpath(absolute) if os.path.islink(absolute) else absolute
    kept = resolved + "/" if path.endswith("/") else resolved
    return Target(kept, os.path.exists(resolved), False)
