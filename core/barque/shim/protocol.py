"""The words spoken between daemon, launcher and shim.

All sockets are AF_UNIX, SOCK_SEQPACKET: one JSON object a packet, file descriptors beside it (SCM_RIGHTS).
A reply is `{"ok": true, ...}` or `{"error": <BarqueError.to_wire()>}`. Unknown keys are ignored and unknown
operations answered with NotImplemented, so that a shim of the previous release and a newer daemon get along
(`version` in the hello). Payloads that may be large (an OCI spec) travel in a memfd.

Launcher (an inherited socketpair; one request at a time; the launcher ends when the daemon's end closes)

    {"op": "launch", "id": ID, "fds": ["control", "settings", "config", "netns"?, "client"...]}
        -> {"ok": true, "pid": shim}      a shim has it; everything else comes on `control`

The payload `config` is a `ShimConfig` as JSON, `settings` the few fields of it that the shim itself needs; the rest is
read, and every hook of the runtime driver is called, in short-lived children of the shim (see `worker`).

Shim, on `control` (made by the daemon, kept open as the shim's event channel; it also takes the operations below).

    <- {"event": "started", "pid": P, "starttime": T}            the program runs (execve has succeeded)
    <- {"event": "failed", "error": {...}}                       nothing runs, nothing is left; the shim exits,
                                                                 and no client has got a byte: the daemon answers them
    <- {"event": "exit", "code": C, "time_ns": N, "oom": bool}   output is drained, log closed, `exit.json` written
    <- {"event": "exec-exit", "exec": ID, "code": C}             before the exec's client is closed
    <- {"event": "detach"} or {"event": "detach", "exec": ID}    a client typed the detach keys
    <- {"event": "oom"}                                          the kernel killed for memory; at the latest before `exit`
    <- {"event": "health-begin", "exec": ID}                     a healthcheck is about to run
    <- {"event": "health", "exec": ID, "ran": b, "health": {...}}    it has ended (`ran`: after it had begun to): HEALTH as in
                                                                 `health.json`, below, with the newest result alone in the log
    <- {"event": "log-error", "message": M, "lost": bytes}       at most one every 10 s

Shim, on its own socket `<state>/shim.sock` (0600; SO_PEERCRED uid must be the shim's own). Any number of connections.
An ATTACH is `"stdin": b, "stdout": b, "stderr": b, "detach_keys": "ctrl-p,ctrl-q", "preread": base64`.

    {"op": "hello"}
        -> {"ok", "version": 1, "id", "shim_pid", "pid", "starttime", "status": "running"|"exited",
            "exit"?: {"code", "time_ns", "oom"}, "execs": {ID: {"pid", "running", "code"}}}
    {"op": "events"}
        -> {"ok"}, then events as above, on this connection; an exit that happened before is sent again.
        A daemon that says `events` first and `hello` next misses nothing.
    {"op": "attach", ATTACH} + [client fd]
        -> {"ok"}
    {"op": "attach-held", ATTACH} + [client fd]
        -> {"ok", "time_ns": N}; nothing goes to the client before {"op": "attach-go"} on the same connection, or the end of that:
        the daemon sends it what the log has until N, and no line is lost or comes twice
    {"op": "exec", "exec": ID, ATTACH, "fds": ["client"?, "payload"]} + those fds; the payload is an OCI process
        -> {"ok", "pid"} after execve; without a client its streams are /dev/null. On an error the client got no byte.
    {"op": "resize", "exec"?: ID, "height": H, "width": W}   -> {"ok"}
    {"op": "kill", "signal": N, "all": b}                    -> {"ok"}
    {"op": "exec-state", "exec": ID}                         -> {"ok", "pid", "running", "code"}
    {"op": "release"}                                        -> {"ok"}; the daemon has recorded the exit
    {"op": "pause"}                                          -> {"ok"} when every process is frozen
    {"op": "resume"}                                         -> {"ok"}
    {"op": "update", "resources": {...}}                     -> {"ok"}; OCI linux.resources with only what changes
    {"op": "stats"}                                          -> {"ok", "stats": RuntimeStats as JSON}
    {"op": "processes"}                                      -> {"ok", "pids": [P ...]}, as the shim sees them
    {"op": "resolver"} + [netns fd]                          -> {"ok"}; the shim answers names from now on (see `ShimConfig.resolver`)

When init has ended the shim drains the output, closes the log, writes `<state>/exit.json` (to be made durable at the
end if no daemon says `release`), sends `exit`, closes the clients as they have got everything, and only then, since
nobody should wait for it, deletes the container in the runtime; its root's mounts end with its last process. The answer
to `release` comes when that is done; from then on `shim.sock` is free and the same container can be launched again. The
shim ends when it is released and its clients are gone; without a daemon, or 10 s after the exit, it needs no release:
the file is enough. What went wrong inside a shim (a driver's defect, a failed delete) is written to `<state>/shim.log`.

Healthchecks run in the shim, as execs of the process that `ShimConfig.health` gives, also while no daemon runs. After each one the
shim writes `<state>/health.json`, for a daemon that was away: HEALTH is `{"status": "starting"|"healthy"|"unhealthy", "failing_streak": N,
"log": [{"started_ns", "finished_ns", "exit_code", "output"} ... at most 5]}`. Times are measured by the monotonic clock.

Names are resolved in the shim: on 127.0.0.11 in the container's network namespace, from `<state>/resolver.json`, which the daemon replaces
when networks, names or links change, and which is read again when it has changed.

Framing to a client without a terminal is Docker's: 8 bytes (stream, 0, 0, 0, length big-endian), then the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from barque.spi.common import Mount

__all__ = [
    "EXIT_FILE",
    "HEALTH_FILE",
    "MAX_PACKET",
    "SOCKET_NAME",
    "VERSION",
    "ClientAttach",
    "ShimConfig",
    "ShimSettings",
]

VERSION = 1
MAX_PACKET = 64 * 1024
SOCKET_NAME = "shim.sock"
EXIT_FILE = "exit.json"
HEALTH_FILE = "health.json"


@dataclass(frozen=True, slots=True)
class ClientAttach:
    """A client that attached before the start; its descriptor is the next `client` of the launch. `preread` is base64."""

    stdin: bool
    stdout: bool
    stderr: bool
    detach_keys: str = ""
    preread: str = ""


@dataclass(frozen=True, slots=True)
class ShimConfig:
    """All a shim needs, given at launch.

    `state` is a directory (0700) below the data root that survives a reboot and holds `shim.sock` and `exit.json`;
    `bundle` one below the run directory; `rootfs` a mount point (an existing empty directory) where `mounts` are
    mounted before the runtime is called, in a mount namespace that only the container's processes keep; `spec` the
    OCI config. The text `@netns@` as path of the network namespace is replaced by the path of the `netns` descriptor.
    `runtime` and `log` name instances the launcher was configured with; an empty `log` keeps none. Without `mounts`
    the root is ready and the runtime is called in the launcher's mount namespace.
    `user` (Docker's USER[:GROUP]) and `group_add` are resolved in the mounted root file system and put into the spec's
    `process.user`, with HOME if the environment has none; None leaves the spec as it is.
    `shared_memory`: `/proc/PID` of another container's process, and where its /dev/shm is to be mounted for the spec to use.
    `sources`: what mounts of the spec are taken from, made ready in the container's mount namespace in this order, each at its `place`:
    `{"place", "mounts": [Mount]}`, or a part of a tree, `{"place", "root", "subpath"}`, found below `root` by descriptor, or
    `{"place", "root", "shared": true}`: what is mounted there goes on telling the host, and being told.
    `log_cache`: `{"driver", "directory", "options"}`: where else the log is written, for one that cannot be read.
    `resolver`: answer names in the sandbox from the start on. `health`: `{"process": an OCI process, "interval_ns", "timeout_ns",
    "start_period_ns", "start_interval_ns", "retries"}`, all resolved (no zeros where a default applies).
    """

    id: str
    state: str
    bundle: str
    rootfs: str
    mounts: tuple[Mount, ...]
    runtime: str
    runtime_root: str
    spec: Mapping[str, Any]
    log: str
    log_directory: str
    log_options: Mapping[str, str] = field(default_factory=dict)
    log_attributes: Mapping[str, str] = field(default_factory=dict)
    log_cache: Mapping[str, Any] | None = None
    terminal: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None
    clients: tuple[ClientAttach, ...] = ()
    user: str | None = None
    group_add: tuple[str, ...] = ()
    shared_memory: tuple[str, str] | None = None
    resolver: bool = False
    health: Mapping[str, Any] | None = None
    sources: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; it shares the spec with this one."""
        document = {key: getattr(self, key) for key in self.__dataclass_fields__}
        document["mounts"] = [asdict(mount) for mount in self.mounts]
        document["clients"] = [asdict(client) for client in self.clients]
        return document

    def settings(self) -> dict[str, Any]:
        """The fields a `ShimSettings` has, as a JSON object."""
        settings = {key: getattr(self, key) for key in ShimSettings._fields if key != "private_mounts"}
        return {
            **settings,
            "private_mounts": bool(self.mounts or self.shared_memory),
            "clients": [asdict(client) for client in self.clients],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ShimConfig:
        """The inverse of `to_json`; unknown keys (a newer daemon's) are ignored."""
        known = {key: value for key, value in document.items() if key in cls.__dataclass_fields__}
        known["mounts"] = tuple(
            Mount(m["type"], m["source"], tuple(m["options"]), m["target"]) for m in known.get("mounts", ())
        )
        known["clients"] = tuple(ClientAttach(**c) for c in known.get("clients", ()))
        known["group_add"] = tuple(known.get("group_add", ()))
        known["sources"] = tuple(known.get("sources", ()))
        if known.get("shared_memory"):
            known["shared_memory"] = tuple(known["shared_memory"])
        if known.get("console_size"):
            known["console_size"] = tuple(known["console_size"])
        return cls(**known)


class ShimSettings(NamedTuple):
    """Of a `ShimConfig` what the shim itself needs; `clients` are objects with the fields of a `ClientAttach`.

    `private_mounts`: the shim may, and is to, call the runtime in mount namespaces of its own.
    """

    id: str
    state: str
    runtime: str
    runtime_root: str
    private_mounts: bool
    log: str
    log_directory: str
    log_options: Mapping[str, str]
    log_attributes: Mapping[str, str]
    log_cache: Mapping[str, Any] | None
    terminal: bool
    open_stdin: bool
    stdin_once: bool
    health: Mapping[str, Any] | None
    clients: Sequence[Mapping[str, Any]]
