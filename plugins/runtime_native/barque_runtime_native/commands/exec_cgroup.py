"""`barque-runtime exec --cgroup`: the process starts in cgroups below the container's."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument, NotFound
from barque_runtime_native.cgroup.layout import current_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def directories_of(document: dict[str, Any], given: list[str]) -> list[str]:
    """The directories to enter: the container's, with a path below appended where an option names one.

    An option is `PATH`, for every hierarchy, or on v1 `CONTROLLER[,CONTROLLER…]:PATH`.
    Errors: InvalidArgument for a controller that is not there, a path out of the container's cgroup, or on v2 for a
    controller at all; NotFound for a cgroup that does not exist.
    """
    below = dict.fromkeys(document["cgroups"], "")
    for option in given:
        names, separator, path = option.rpartition(":")
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise InvalidArgument(f"--cgroup {option}: {path!r} is not a path below the container's cgroup")
        for directory in named(below, names.split(","), option) if separator else list(below):
            below[directory] = path
    found = [f"{directory}/{path}" if path else directory for directory, path in below.items()]
    for directory in found:
        if not os.path.isdir(directory):
            raise NotFound(f"--cgroup: {directory}: no such file or directory")
    return found


def named(directories: dict[str, str], names: list[str], option: str) -> list[str]:
    """The container's directories in the hierarchies of the controllers `names`."""
    found = []
    layout = current_layout()
    for name in names:
        hierarchy = None if layout.unified else layout.of(name)
        if hierarchy is None:
            raise InvalidArgument(f"--cgroup {option}: there is no hierarchy of the controller {name!r}")
        found += [each for each in directories if each.startswith(f"{hierarchy.mountpoint}/")]
    return found
