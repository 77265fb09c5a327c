"""`python -m barque.plugins ls|show [KIND:]NAME --json`: what is installed, as JSON for the command line."""

from __future__ import annotations

import json
import sys
from typing import Any

from barque.plugins.configs import build_config, describe_config
from barque.plugins.discovery import FoundDriver, find, found_drivers, load_class
from barque.plugins.kinds import kind_named
from barque.spi.common import Probe
from barque.spi.errors import BarqueError, InvalidArgument, NotFound


def describe(found: FoundDriver) -> dict[str, Any]:
    """One driver with the problems its probe finds on this host; a driver that fails to load has `error`."""
    row: dict[str, Any] = {
        "kind": found.kind.name,
        "name": found.name,
        "distribution": found.distribution,
        "version": found.version,
        "module": f"{found.module}:{found.attribute}",
        "problems": [],
        "usable": False,
    }
    try:
        find(found.kind, found.name)
        probe = _probe(found)
    except BarqueError as error:
        row["error"] = str(error)
        return row
    row["problems"] = [{"what": p.what, "remedy": p.remedy, "fatal": p.fatal} for p in probe.problems]
    row["usable"] = probe.usable
    row["facts"] = dict(probe.facts)
    return row


def _probe(found: FoundDriver) -> Probe:
    import tempfile
    from pathlib import Path

    from barque.plugins.facades import Facade
    from barque.plugins.registry import Registry

    with tempfile.TemporaryDirectory(prefix="barque-probe-") as root:
        registry = Registry()
        loaded = registry.load(found.kind, found.name, found.name, {}, Path(root))
        return Facade(registry, loaded).probe()


def show(name: str) -> dict[str, Any]:
    """One driver in full. `name` is NAME or KIND:NAME. Errors: NotFound, InvalidArgument when NAME is ambiguous."""
    kind, separator, rest = name.partition(":")
    wanted = kind_named(kind) if separator else None
    matches = [f for f in found_drivers(wanted) if f.name == (rest if separator else name)]
    if not matches:
        raise NotFound(f"no driver {name!r} is installed", hint="`barque plugin ls` shows what is")
    if len({f.kind.name for f in matches}) > 1:
        options = " or ".join(f"{f.kind.name}:{f.name}" for f in matches)
        raise InvalidArgument(f"{name!r} names drivers of several kinds", hint=f"say {options}")
    found = matches[0]
    cls = load_class(found)
    build_config(cls, {}, f"{found.kind.name}.{found.name}")
    document = describe(found)
    document["config"] = describe_config(cls)
    document["capabilities"] = sorted(str(c) for c in getattr(cls, "capabilities", ()))
    document["hooks"] = list(found.kind.hook_names())
    document["description"] = (cls.__doc__ or "").strip()
    return document


def main(arguments: list[str]) -> int:
    """Answer one request on standard output."""
    words = [word for word in arguments if word != "--json"]
    try:
        if words[:1] == ["ls"]:
            answer: Any = [describe(found) for found in found_drivers()]
        elif words[:1] == ["show"] and len(words) == 2:
            answer = show(words[1])
        else:
            raise InvalidArgument("usage: python -m barque.plugins ls | show [KIND:]NAME")
    except BarqueError as error:
        print(json.dumps({"error": error.to_wire()}))
        return 1
    print(json.dumps(answer, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
