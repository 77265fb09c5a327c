"""The mounts of a container, in the order in which they are made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from barque.oci.defaults import mount, system_mounts
from barque.spi.container import ContainerConfig
from barque.spi.errors import FailedPrecondition

__all__ = ["container_mounts", "read_only_word"]


def container_mounts(
    config: ContainerConfig,
    files: Sequence[tuple[str, str]],
    host_ipc: bool,
    shared_memory: str = "",
    last_gid: int = 2147483647,
    volumes: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """All of them; what the user mounts takes the place of what the engine would mount there. See `SpecInputs` for the rest."""
    mounts = system_mounts(config.privileged, config.shm_size, host_ipc, last_gid)
    if config.ipc_mode == "none" or shared_memory:
        mounts = [m for m in mounts if m["destination"] != "/dev/shm"]
    if shared_memory:
        mounts.append(mount("/dev/shm", "bind", shared_memory, "rbind", "nosuid", "nodev", "noexec"))
    if config.writable_cgroups:
        mounts = [_writable(m) if m["type"] == "cgroup" else m for m in mounts]
    bound = {bind.target for bind in config.binds} | {volume["destination"] for volume in volumes}
    mounts += [mount(t, "bind", s, "rbind", "rprivate") for s, t in files if t not in bound]
    users = [
        mount(t, "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", *_words(o)) for t, o in config.tmpfs.items()
    ]
    for bind in config.binds:
        access = read_only_word(bind.read_only_below) if bind.read_only else "rw"
        options = ["rbind" if bind.recursive else "bind", bind.propagation, access]
        users.append(mount(bind.target, "bind", bind.source, *options))
    users += [dict(volume) for volume in volumes]
    users.sort(key=lambda m: m["destination"].rstrip("/").count("/"))
    replaced = {m["destination"] for m in users}
    return [m for m in mounts if m["destination"] not in replaced] + users


def _writable(cgroups: dict[str, Any]) -> dict[str, Any]:
    return {**cgroups, "options": ["rw" if option == "ro" else option for option in cgroups["options"]]}


def _words(options: str) -> list[str]:
    return [word for word in options.split(",") if word]


def read_only_word(below: str) -> str:
    """The mount option for read-only: of the whole tree (`rro`), or of the mount itself. See `BindMount.read_only_below`.

    Errors: FailedPrecondition."""
    if below == "no":
        return "ro"
    if _kernel() >= (5, 12):  # mount_setattr(2)
        return "rro"
    if below == "force":
        raise FailedPrecondition(
            "rro is not supported: recursively read-only mounts need Linux 5.12",
            hint="leave ReadOnlyForceRecursive out",
        )
    return "ro"


@cache
def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)
