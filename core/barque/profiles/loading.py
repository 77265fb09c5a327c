"""Finding and reading profiles."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from barque.profiles.model import Profile
from barque.spi.errors import InvalidArgument, NotFound

__all__ = ["FoundProfile", "default_name", "found_profiles", "load_profile", "locate", "parse_profile"]

_BUILTIN = Path(__file__).parent / "builtin"


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A profile file and the name it goes by."""

    name: str
    path: Path


def default_name() -> str:
    """The profile when none is named: BARQUE_PROFILE, else `default` for root and `rootless` for others."""
    return os.environ.get("BARQUE_PROFILE") or ("default" if os.geteuid() == 0 else "rootless")


def search_path() -> tuple[Path, ...]:
    """Where profiles are looked up, first match wins.

    As root, `./` and the home directory are left out when somebody else could have written there:
    a profile chooses the code that root runs.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (Path(), config / "barque" / "profiles", Path("/etc/barque/profiles"))
    return (*(p for p in places if _trusted(p)), _BUILTIN)


def _trusted(directory: Path) -> bool:
    try:
        info = directory.stat()
    except OSError:
        return False
    return os.geteuid() != 0 or (info.st_uid == 0 and not info.st_mode & 0o022)


def found_profiles() -> tuple[FoundProfile, ...]:
    """All profiles by name; a name found twice is the first's. Only `*.toml` with a [runtime] table count in `./`."""
    found: dict[str, FoundProfile] = {}
    for place in search_path():
        for path in sorted(place.glob("*.toml")):
            if place == Path() and not _looks_like_profile(path):
                continue
            found.setdefault(path.stem, FoundProfile(path.stem, path.resolve()))
    return tuple(found[name] for name in sorted(found))


def _looks_like_profile(path: Path) -> bool:
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(document.get("runtime"), dict) and "storage" in document


def locate(name: str) -> FoundProfile:
    """The profile `name`; a name with a slash or ending in `.toml` is a file. Errors: NotFound."""
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"no profile file {name}", hint="`barque profile ls` shows the profiles there are")
        return FoundProfile(path.stem, path.resolve())
    for profile in found_profiles():
        if profile.name == name:
            return profile
    known = ", ".join(p.name for p in found_profiles())
    raise NotFound(f"no profile {name!r}", hint=f"there are: {known}; or give a file: ./{name}.toml")


def load_profile(name: str) -> Profile:
    """Read and validate. Errors: NotFound, InvalidArgument naming file and field."""
    found = locate(name)
    try:
        text = found.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"profile {found.path} cannot be read: {error}") from error
    return parse_profile(found.name, text, str(found.path))


def parse_profile(name: str, text: str, where: str) -> Profile:
    """The profile that `text` describes. Errors: InvalidArgument."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"profile {where} is no valid TOML: {error}") from error
    try:
        return Profile.model_validate({**document, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "profile"
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidArgument(
            f"profile {where}: {field}: {message}",
            hint="`barque profile show default` prints a complete profile",
        ) from error
