"""`python -m barque.profiles ls | show NAME | validate NAME|FILE`: profiles as JSON for the command line."""

from __future__ import annotations

import json
import sys
from typing import Any

from barque.plugins.configs import build_config
from barque.plugins.discovery import find, load_class
from barque.plugins.kinds import KINDS
from barque.profiles.loading import default_name, found_profiles, load_profile, locate
from barque.spi.errors import BarqueError, InvalidArgument


def rows() -> list[dict[str, Any]]:
    """All profiles; one that is wrong has its error as description."""
    active = default_name()
    listed = []
    for found in found_profiles():
        try:
            description = load_profile(str(found.path)).description
        except BarqueError as error:
            description = f"invalid: {error}"
        row = {
            "name": found.name,
            "path": str(found.path),
            "description": description,
            "active": found.name == active,
        }
        listed.append(row)
    return listed


def validate(name: str) -> dict[str, Any]:
    """Everything wrong with a profile: its form, drivers that are not there, their options."""
    problems = []
    try:
        profile = load_profile(name)
    except BarqueError as error:
        return {"ok": False, "problems": [str(error)]}
    for kind in KINDS:
        for instance, settings in profile.section(kind.name).instances.items():
            try:
                build_config(
                    load_class(find(kind, settings.driver)), settings.options, f"{kind.name}.{instance}"
                )
            except BarqueError as error:
                problems.append(f"{kind.name}.{instance}: {error}")
    return {"ok": not problems, "problems": problems}


def main(arguments: list[str]) -> int:
    """Answer one request on standard output."""
    words = [word for word in arguments if word != "--json"]
    try:
        if words == ["ls"]:
            answer: Any = rows()
        elif words[:1] == ["show"] and len(words) == 2:
            found, profile = locate(words[1]), load_profile(words[1])
            document = profile.model_dump(mode="json")
            answer = {
                "name": found.name,
                "path": str(found.path),
                "document": document,
                "toml": found.path.read_text(),
            }
        elif words[:1] == ["validate"] and len(words) == 2:
            answer = validate(words[1])
        else:
            raise InvalidArgument("usage: python -m barque.profiles ls | show NAME | validate NAME|FILE")
    except BarqueError as error:
        print(json.dumps({"error": error.to_wire()}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
