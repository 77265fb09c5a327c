"""The documents a runtime reads: `config.json` in the bundle, an exec's `process` from memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["in_memory", "remove_config", "write_config"]

_SELF = "/proc/self/"


def write_config(bundle: str, spec: Mapping[str, Any]) -> None:
    """Write `config.json`, such that it means the same to a child of this process."""
    fd = os.open(
        f"{bundle}/config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(_for_child(spec), file)


def remove_config(bundle: str) -> None:
    """Undo `write_config`. Idempotent."""
    with suppress(FileNotFoundError):
        os.unlink(f"{bundle}/config.json")


@contextmanager
def in_memory(document: Mapping[str, Any]) -> Iterator[str]:
    """A path under which a child of this process can read `document` as JSON."""
    with open(os.memfd_create("process", os.MFD_CLOEXEC), "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _for_child(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """`spec` with the namespaces that are named through /proc/self named through this process's pid."""
    linux = spec.get("linux")
    if not isinstance(linux, Mapping) or not linux.get("namespaces"):
        return spec
    namespaces = [_named_by_pid(namespace) for namespace in linux["namespaces"]]
    return {**spec, "linux": {**linux, "namespaces": namespaces}}


def _named_by_pid(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    path = namespace.get("path")
    if not isinstance(path, str) or not path.startswith(_SELF):
        return namespace
    return {**namespace, "path": f"/proc/{os.getpid()}/{path.removeprefix(_SELF)}"}
