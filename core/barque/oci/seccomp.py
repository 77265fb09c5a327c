"""Docker's seccomp profiles -> the `linux.seccomp` of an OCI config.

A profile in Docker's format has rules that hold only with certain capabilities, architectures or kernels
(`includes`, `excludes`); an OCI config has none. `seccomp_default.json` is Docker's default profile, as data.
"""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from barque.spi.errors import InvalidArgument

__all__ = ["resolve_profile"]

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "ppc64le": "ppc64le",
}
_SECCOMP_NAMES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}


@functools.lru_cache(maxsize=16)
def resolve_profile(profile: str, capabilities: tuple[str, ...]) -> Mapping[str, Any] | None:
    """`profile` is `default`, `unconfined` or a profile's JSON; None: no filter. Treat the result as read-only.

    Errors: InvalidArgument naming the field.
    """
    if profile == "unconfined":
        return None
    if profile == "default":
        document = json.loads((Path(__file__).parent / "seccomp_default.json").read_text())
    else:
        try:
            document = json.loads(profile)
        except ValueError as error:
            raise InvalidArgument(
                f"Decoding seccomp profile failed: {error}",
                hint="--security-opt seccomp=FILE takes a JSON profile",
            ) from error
    if not isinstance(document, dict):
        raise InvalidArgument("Decoding seccomp profile failed: not an object")
    return _translate(document, frozenset(capabilities))


def _translate(document: Mapping[str, Any], capabilities: frozenset[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"defaultAction": document.get("defaultAction", "SCMP_ACT_ERRNO")}
    for key in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"):
        if document.get(key) is not None:
            result[key] = document[key]
    result["architectures"] = _architectures(document)
    result["syscalls"] = [
        _rule(group) for group in document.get("syscalls") or () if _applies(group, capabilities)
    ]
    return result


def _architectures(document: Mapping[str, Any]) -> list[str]:
    if document.get("architectures"):
        return list(document["architectures"])
    native = _SECCOMP_NAMES.get(platform.machine(), "")
    for entry in document.get("archMap") or ():
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return [native] if native else []


def _rule(group: Mapping[str, Any]) -> dict[str, Any]:
    names = list(group.get("names") or ([group["name"]] if group.get("name") else []))
    rule: dict[str, Any] = {"names": names, "action": group["action"]}
    if group.get("errnoRet") is not None:
        rule["errnoRet"] = group["errnoRet"]
    if group.get("args"):
        rule["args"] = [
            {key: arg[key] for key in ("index", "value", "valueTwo", "op") if key in arg}
            for arg in group["args"]
        ]
    return rule


def _applies(group: Mapping[str, Any], capabilities: frozenset[str]) -> bool:
    includes, excludes = group.get("includes") or {}, group.get("excludes") or {}
    machine = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if includes.get("caps") and not all(cap in capabilities for cap in includes["caps"]):
        return False
    if includes.get("arches") and machine not in includes["arches"]:
        return False
    if includes.get("minKernel") and _kernel() < _version(includes["minKernel"]):
        return False
    if excludes.get("caps") and any(cap in capabilities for cap in excludes["caps"]):
        return False
    if excludes.get("arches") and machine in excludes["arches"]:
        return False
    return not (excludes.get("minKernel") and _kernel() >= _version(excludes["minKernel"]))


@functools.cache
def _kernel() -> tuple[int, int]:
    return _version(os.uname().release)


def _version(text: str) -> tuple[int, int]:
    numbers = [int("".join(c for c in part if c.isdigit()) or 0) for part in text.split(".")[:2]]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0)
