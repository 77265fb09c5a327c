"""Container Device Interface: devices as their vendors describe them in files (CNCF CDI specification 0.3 to 1.0).

Files end in `.json`, or in `.yaml` where the host's Python has PyYAML; a file that cannot be read loses its own devices
only. A file of a later directory counts more than one of an earlier; a device that two files of one directory have is nobody's.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from barque.oci.devices import node_at
from barque.spi.errors import Internal

__all__ = ["Devices"]

_log = logging.getLogger(__name__)
_MAX_FILE = 4 << 20
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_EDITS = ("env", "deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt")


class Devices:
    """All devices that the files in `directories` describe, by their qualified name (`vendor.com/class=name`)."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._edits: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self.unread = 0
        for directory in directories:
            self._read_directory(Path(directory))

    @property
    def names(self) -> tuple[str, ...]:
        """What there is."""
        return tuple(self._edits)

    def inject(self, spec: dict[str, Any], names: Sequence[str]) -> None:
        """Put devices into an OCI configuration. Errors: Internal (as dockerd) for one nobody describes, or that is not there."""
        missing = [name for name in names if name not in self._edits]
        if missing:
            hint = "files in YAML need PyYAML: write them as JSON" if self.unread else ""
            raise Internal(
                f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}", hint=hint
            )
        shared: list[Mapping[str, Any]] = []
        for common, own in map(self._edits.__getitem__, dict.fromkeys(names)):
            _apply(spec, own)
            if not any(common is other for other in shared):
                shared.append(common)
        for common in shared:
            _apply(spec, common)

    def _read_directory(self, directory: Path) -> None:
        found: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        twice = set()
        for path in sorted(directory.glob("*.*")):
            for name, common, own in self._read_file(path):
                if name in found:
                    twice.add(name)
                found[name] = common, own
        for name in twice:
            _log.warning("CDI device %s is described twice in %s, so by nobody", name, directory)
            del found[name]
        self._edits.update(found)

    def _read_file(self, path: Path) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        parse = self._parser(path.suffix)
        if parse is None:
            return
        try:
            with path.open("rb") as file:
                document = parse(file.read(_MAX_FILE))
            yield from _described(document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _log.warning("CDI file %s is not used: %s: %s", path, type(error).__name__, error)

    def _parser(self, suffix: str) -> Callable[[bytes], Any] | None:
        if suffix == ".json":
            return json.loads
        if suffix not in (".yaml", ".yml"):
            return None
        try:
            yaml = importlib.import_module("yaml")
        except ImportError:
            self.unread += 1
            return None

        def parse(text: bytes) -> Any:
            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(str(error)) from error

        return parse


def _described(document: Any) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """The devices of one file: name, the file's own edits, the device's. Raises ValueError and the like for what is no CDI file."""
    version = tuple(int(part) for part in str(document["cdiVersion"]).split("."))
    if not (0, 3) <= version[:2] <= (1, 0):
        raise ValueError(f"cdiVersion {document['cdiVersion']} is not supported")
    common = _checked(document.get("containerEdits") or {})
    devices = [
        (f"{document['kind']}={device['name']}", common, _checked(device.get("containerEdits") or {}))
        for device in document["devices"]
    ]
    yield from devices


def _checked(edits: Any) -> Mapping[str, Any]:
    unknown = edits.keys() - set(_EDITS)
    if unknown:
        raise ValueError(f"containerEdits: {', '.join(sorted(unknown))} is not supported")
    for hook in edits.get("hooks") or ():
        if hook["hookName"] not in _HOOKS:
            raise ValueError(f"unknown hook {hook['hookName']!r}")
    return dict(edits)


def _apply(spec: dict[str, Any], edits: Mapping[str, Any]) -> None:
    process, linux = spec["process"], spec["linux"]
    _set_environment(process["env"], edits.get("env") or ())
    for node in edits.get("deviceNodes") or ():
        _add_node(linux, node)
    for mount in edits.get("mounts") or ():
        spec["mounts"].append(_mount(mount))
    for hook in edits.get("hooks") or ():
        entry = {key: hook[key] for key in ("path", "args", "env", "timeout") if hook.get(key)}
        spec.setdefault("hooks", {}).setdefault(hook["hookName"], []).append(entry)
    if groups := [int(gid) for gid in edits.get("additionalGids") or () if int(gid)]:
        process["user"].setdefault("additionalGids", []).extend(groups)
    if edits.get("intelRdt"):
        linux["intelRdt"] = dict(edits["intelRdt"])


def _set_environment(environment: list[str], changes: Sequence[str]) -> None:
    for change in changes:
        name = change.partition("=")[0]
        environment[:] = [entry for entry in environment if entry.partition("=")[0] != name]
        environment.append(change)


def _add_node(linux: dict[str, Any], node: Mapping[str, Any]) -> None:
    target = node["path"]
    source = node.get("hostPath") or target
    try:
        found = node_at(os.path.realpath(source), target)
    except OSError as error:
        raise Internal(
            f"CDI device injection failed: failed to stat CDI host device {source!r}: {str(error.strerror).lower()}"
        ) from error
    if found is None:
        raise Internal(f"CDI device injection failed: {source!r} is not a device node")
    given = {key: node[key] for key in ("type", "major", "minor", "fileMode", "uid", "gid") if key in node}
    device = {**found, **given}
    devices = linux.setdefault("devices", [])
    devices[:] = [other for other in devices if other["path"] != target]
    devices.append(device)
    rule = {"allow": True, "access": node.get("permissions") or "rwm"}
    numbers = {key: device[key] for key in ("type", "major", "minor")}
    linux["resources"]["devices"].append({**rule, **numbers})


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    options = [str(option) for option in mount.get("options") or ()]
    kind = mount.get("type") or "bind"
    if kind == "bind" and not {"bind", "rbind"} & set(options):
        options = ["rbind", *options]
    return {
        "destination": mount["containerPath"],
        "source": mount["hostPath"],
        "type": kind,
        "options": options,
    }
