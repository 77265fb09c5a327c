"""`--volume`, `--mount` and `--device`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from barque.cli.errors import CliError, UsageError
from barque.cli.units import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["device", "mount", "volumes"]

_TRUE = ("1", "true", "")
_FALSE = ("0", "false")


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
    """One `--mount`: `type=bind,source=/a,target=/b,readonly`. Raises CliError that names the field."""
    found: dict[str, Any] = {"Type": "volume"}
    for part in value.split(","):
        key, equals, setting = part.partition("=")
        _mount_field(found, value, key.strip().lower(), setting, bool(equals))
    if not found.get("Target"):
        raise _invalid(value, "target is required")
    if found["Type"] == "bind" and not found.get("Source"):
        raise _invalid(value, "source is required for a bind mount")
    for options, kind in (("BindOptions", "bind"), ("TmpfsOptions", "tmpfs"), ("VolumeOptions", "volume")):
        if options in found and found["Type"] != kind:
            raise _invalid(value, f"cannot mix '{kind}-*' options with mount type '{found['Type']}'")
    return found


def _mount_field(found: dict[str, Any], value: str, key: str, setting: str, equals: bool) -> None:
    if key == "type":
        found["Type"] = setting.lower()
    elif key in ("source", "src"):
        relative = setting in (".", "..") or setting.startswith(("./", "../"))
        found["Source"] = os.path.abspath(setting) if relative else setting
    elif key in ("target", "dst", "destination"):
        found["Target"] = setting
    elif key in ("readonly", "ro"):
        found["ReadOnly"] = _boolean(value, key, setting)
    elif not equals and key != "volume-nocopy":
        raise _invalid(value, f"invalid field '{key}' must be a key=value pair")
    elif key == "bind-propagation":
        found.setdefault("BindOptions", {})["Propagation"] = setting
    elif key == "bind-recursive":
        _recursion(found, value, setting)
    elif key == "tmpfs-size":
        found.setdefault("TmpfsOptions", {})["SizeBytes"] = _number(value, key, setting, memory)
    elif key == "tmpfs-mode":
        found.setdefault("TmpfsOptions", {})["Mode"] = _number(value, key, setting, lambda text: int(text, 8))
    elif key == "volume-nocopy":
        found.setdefault("VolumeOptions", {})["NoCopy"] = _boolean(value, key, setting)
    elif key == "volume-subpath":
        found.setdefault("VolumeOptions", {})["Subpath"] = setting
    elif key in ("volume-label", "volume-opt", "volume-driver"):
        _volume_field(found, key, setting)
    else:
        raise _invalid(value, f"unexpected key '{key}' in '{key}={setting}'")


def _volume_field(found: dict[str, Any], key: str, setting: str) -> None:
    options = found.setdefault("VolumeOptions", {})
    name, _, content = setting.partition("=")
    if key == "volume-label":
        options.setdefault("Labels", {})[name] = content
    elif key == "volume-driver":
        options.setdefault("DriverConfig", {})["Name"] = setting
    else:
        options.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = content


def _recursion(found: dict[str, Any], value: str, setting: str) -> None:
    meanings = {
        "enabled": {},
        "disabled": {"NonRecursive": True},
        "writable": {"ReadOnlyNonRecursive": True},
        "readonly": {"ReadOnlyForceRecursive": True},
    }
    if setting not in meanings:
        raise _invalid(
            value, f"invalid value for bind-recursive: {setting} (must be one of {', '.join(meanings)})"
        )
    found.setdefault("BindOptions", {}).update(meanings[setting])


def _boolean(value: str, key: str, setting: str) -> bool:
    if setting.lower() not in _TRUE + _FALSE:
        raise _invalid(value, f"invalid value for {key}: {setting}")
    return setting.lower() in _TRUE


def _number(value: str, key: str, setting: str, parse: Any) -> int:
    try:
        return int(parse(setting))
    except ValueError:
        raise _invalid(value, f"invalid value for {key}: {setting}") from None


def _invalid(value: str, why: str) -> UsageError:
    return UsageError(f'invalid argument "{value}" for "--mount" flag: {why}')


def device(value: str) -> dict[str, str]:
    """`/dev/x[:/dev/y[:rwm]]`."""
    host, _, rest = value.partition(":")
    inside, _, permissions = rest.partition(":")
    if inside and not inside.startswith("/") and not permissions:
        inside, permissions = "", inside
    if not host or permissions.strip("rwm"):
        raise UsageError(f'invalid argument "{value}" for "--device" flag: bad mode specified: {permissions}')
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions or "rwm"}
