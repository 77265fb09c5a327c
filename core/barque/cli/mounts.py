"""`--volume` and `--mount`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from barque.cli.csvfields import csv_fields
from barque.cli.errors import CliError, UsageError
from barque.cli.flags import FALSE_WORDS, TRUE_WORDS
from barque.cli.units import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["mount", "volumes"]


def volumes(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """(paths of anonymous volumes, binds `source:target[:options]`). A source that starts with `.` is made absolute."""
    anonymous, binds = [], []
    for value in flags:
        source, colon, rest = value.partition(":")
        if not colon:
            anonymous.append(value)
        elif not source or not rest:
            raise CliError(f"invalid spec: {value}: empty section between colons")
        elif source in (".", "..") or source.startswith(("./", "../")):
            binds.append(f"{os.path.abspath(source)}:{rest}")
        else:
            binds.append(value)
    return anonymous, binds


def mount(value: str) -> dict[str, Any]:
    """One `--mount`: `type=bind,source=/a,target=/b,readonly`. Raises UsageError that names the field."""
    found: dict[str, Any] = {"Type": "volume"}
    try:
        for part in csv_fields(value):
            key, equals, setting = part.partition("=")
            if equals:
                _field(found, key.lower(), setting, part)
            else:
                _bare_field(found, key.lower(), part)
        _check(found)
    except ValueError as error:
        raise UsageError(f'invalid argument "{value}" for "--mount" flag: {error}') from None
    return found


def _check(found: dict[str, Any]) -> None:
    kind = found["Type"]
    if not found.get("Target"):
        raise ValueError("target is required")
    for mixed in ("volume", "image", "bind", "tmpfs"):
        if f"{mixed.title()}Options" in found and kind != mixed:
            raise ValueError(f"cannot mix '{mixed}-*' options with mount type '{kind}'")
    bind = found.get("BindOptions", {})
    for key, word in (("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")):
        if bind.get(key) and not found.get("ReadOnly"):
            raise ValueError(
                f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            )
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )


def _bare_field(found: dict[str, Any], key: str, part: str) -> None:
    if key in ("readonly", "ro"):
        found["ReadOnly"] = True
    elif key == "volume-nocopy":
        found.setdefault("VolumeOptions", {})["NoCopy"] = True
    elif key == "bind-nonrecursive":
        found.setdefault("BindOptions", {})["NonRecursive"] = True
    else:
        raise ValueError(f"invalid field '{part}' must be a key=value pair")


def _field(found: dict[str, Any], key: str, setting: str, part: str) -> None:
    if key == "type":
        found["Type"] = setting.lower()
    elif key in ("source", "src"):
        relative = setting == "." or setting.startswith("./")
        found["Source"] = os.path.abspath(setting) if relative else setting
    elif key in ("target", "dst", "destination"):
        found["Target"] = setting
    elif key in ("readonly", "ro"):
        found["ReadOnly"] = _boolean(key, setting)
    elif key == "consistency":
        found["Consistency"] = setting.lower()
    elif key == "bind-propagation":
        found.setdefault("BindOptions", {})["Propagation"] = setting.lower()
    elif key == "bind-recursive":
        found.setdefault("BindOptions", {}).update(_recursion(setting))
    elif key in ("tmpfs-size", "tmpfs-mode"):
        name, parse = ("SizeBytes", memory) if key == "tmpfs-size" else ("Mode", _octal)
        found.setdefault("TmpfsOptions", {})[name] = _number(key, setting, parse)
    elif key == "image-subpath":
        found.setdefault("ImageOptions", {})["Subpath"] = setting
    elif key.startswith("volume-"):
        _volume_field(found, key, setting, part)
    elif key == "bind-nonrecursive":
        found.setdefault("BindOptions", {})["NonRecursive"] = _boolean(key, setting)
    else:
        raise ValueError(f"unexpected key '{key}' in '{part}'")


def _volume_field(found: dict[str, Any], key: str, setting: str, part: str) -> None:
    options = found.setdefault("VolumeOptions", {})
    name, _, content = setting.partition("=")
    if key == "volume-nocopy":
        options["NoCopy"] = _boolean(key, setting)
    elif key == "volume-subpath":
        options["Subpath"] = setting
    elif key == "volume-label":
        options.setdefault("Labels", {})[name] = content
    elif key == "volume-driver":
        options.setdefault("DriverConfig", {})["Name"] = setting
    elif key == "volume-opt":
        options.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = content
    else:
        raise ValueError(f"unexpected key '{key}' in '{part}'")


def _recursion(setting: str) -> dict[str, bool]:
    meanings: dict[str, dict[str, bool]] = {
        "enabled": {},
        "disabled": {"NonRecursive": True},
        "writable": {"ReadOnlyNonRecursive": True},
        "readonly": {"ReadOnlyForceRecursive": True},
    }
    if setting not in meanings:
        raise ValueError(
            f'invalid value for bind-recursive: {setting} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    return meanings[setting]


def _boolean(key: str, setting: str) -> bool:
    if setting not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError(f"invalid value for {key}: {setting}")
    return setting in TRUE_WORDS


def _octal(text: str) -> int:
    if not text or text.strip("01234567"):
        raise ValueError(text)
    return int(text, 8)


def _number(key: str, setting: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(setting)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {setting}") from None
