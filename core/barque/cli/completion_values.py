"""What arguments and flags of the commands may be: names that the daemon knows, and words that are always the same."""

from __future__ import annotations

from collections.abc import Callable

from barque.cli.flags import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque.cli.context import Context

__all__ = ["argument_candidates", "value_candidates"]

Candidates = list[tuple[str, str]]
Connect = Callable[[], "Context"]

_FILES = (":files", "")
_RUNNING, _STOPPED, _PAUSED = ("running", "restarting"), ("created", "exited"), ("paused",)

# What the arguments of a command are: one word a position, the last one for all that follow.
_ARGUMENTS = {
    "attach": "running",
    "commit": "container nothing",
    "cp": "copy",
    "create": "image nothing",
    "diff": "container",
    "exec": "running nothing",
    "export": "container",
    "kill": "running",
    "logs": "container",
    "pause": "running",
    "port": "container nothing",
    "rename": "container nothing",
    "restart": "container",
    "rm": "container",
    "run": "image nothing",
    "start": "stopped",
    "stats": "running",
    "stop": "running",
    "top": "running nothing",
    "unpause": "paused",
    "update": "container",
    "wait": "container",
    "container inspect": "container",
    "inspect": "object",
    "history": "image",
    "images": "image",
    "import": "files nothing",
    "push": "image",
    "rmi": "image",
    "save": "image",
    "tag": "image",
    "image ls": "image",
    "image inspect": "image",
    "image rm": "image",
    "network connect": "network container",
    "network disconnect": "network container",
    "network inspect": "network",
    "network rm": "network",
    "volume inspect": "volume",
    "volume rm": "volume",
    "volume update": "volume",
    "context export": "context files",
    "context import": "nothing files",
    "context inspect": "context",
    "context rm": "context",
    "context update": "context",
    "context use": "context",
    "profile validate": "files",
    "completion": "shell",
}
# What the value of a flag is, wherever it means the same; "command --flag" where it does not.
_FLAGS = {
    "attach": "=stdin stdout stderr",
    "cap-add": "capability",
    "cap-drop": "capability",
    "cgroupns": "=host private",
    "cidfile": "files",
    "config": "files",
    "config-from": "network",
    "context": "context",
    "device": "files",
    "env-file": "files",
    "filter": "filter",
    "from": "context",
    "input": "files",
    "ipc": "=host private shareable none container:",
    "label-file": "files",
    "link": "container",
    "log-driver": "Log",
    "network": "network",
    "output": "files",
    "pid": "=host container:",
    "platform": "=linux/amd64 linux/arm64 linux/386 linux/arm/v7 linux/riscv64",
    "pull": "=always missing never",
    "restart": "=always no on-failure unless-stopped",
    "runtime": "runtime",
    "security-opt": "=no-new-privileges seccomp=unconfined apparmor=unconfined label=disable systempaths=unconfined",
    "signal": "signal",
    "stop-signal": "signal",
    "tlscacert": "files",
    "tlscert": "files",
    "tlskey": "files",
    "type": "=container image network volume",
    "userns": "=host",
    "uts": "=host",
    "volume": "volume files",
    "volume-driver": "Volume",
    "volumes-from": "container",
    "format": "=json table",
    "log-level": "=debug info warn error fatal",
    "network create --driver": "Network",
    "volume create --driver": "Volume",
}
_FILTERS = {
    "ps": "ancestor before exited expose health id is-task label name network publish since status volume",
    "images": "before dangling label reference since until",
    "network ls": "dangling driver id label name scope type",
    "volume ls": "dangling driver label name",
    "events": "container daemon event image label network type volume",
    "search": "is-official stars",
    "prune": "label label! until",
}
_CAPABILITIES = (
    "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT "
    "SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)


def argument_candidates(path: str, earlier: list[str], current: str, connect: Connect) -> Candidates:
    """What the next argument of a command may be, after the `earlier` ones."""
    group, _, name = path.partition(" ")
    own = name if group in ("container", "image") and path not in _ARGUMENTS else path
    kinds = _ARGUMENTS.get(own, "nothing").split()
    kind = kinds[min(len(earlier), len(kinds) - 1)]
    return [one for one in _of_kind(kind, current, connect) if one[0] not in earlier]


def value_candidates(option: Option, path: str, current: str, connect: Connect) -> Candidates:
    """What the value of a flag may be."""
    kinds = _FLAGS.get(f"{path} --{option.name}", _FLAGS.get(option.name, ""))
    if kinds == "filter":
        return _filter_candidates(path)
    if kinds.startswith("="):
        return [(word, "") for word in kinds[1:].split()]
    return [one for kind in kinds.split() for one in _of_kind(kind, current, connect)]


def _of_kind(kind: str, current: str, connect: Connect) -> Candidates:
    if kind == "files":
        return [_FILES]
    if kind == "copy":
        return _copy(connect) if not current.startswith(("/", ".", "~")) else [_FILES]
    if kind == "nothing":
        return []
    if kind == "shell":
        return [(name, "") for name in ("bash", "zsh", "fish")]
    if kind == "signal":
        import signal

        return sorted((one.name, "") for one in signal.Signals)
    if kind == "capability":
        return [(name, "") for name in _CAPABILITIES.split()]
    return _asked(kind, connect)


def _copy(connect: Connect) -> Candidates:
    """A path in a container, or a file."""
    found = [(f"{name}:", told) for name, told in _asked("container", connect)]
    return [*found, (":nospace", ""), _FILES]


def _asked(kind: str, connect: Connect) -> Candidates:
    """What the daemon, or the configuration, knows."""
    context = connect()
    try:
        return _ASKED[kind](context)
    finally:
        context.close()


def _containers(context: Context, states: tuple[str, ...]) -> Candidates:
    from barque.cli.filters import filters_parameter

    filters = filters_parameter([f"status={state}" for state in states])
    rows = context.client.get("/containers/json", {"all": True, "filters": filters})
    return sorted(
        (name.removeprefix("/"), f"{row.get('Image', '')}, {row.get('Status', '')}")
        for row in rows
        for name in (row.get("Names") or [])[:1]
    )


def _images(context: Context) -> Candidates:
    from barque.cli.references import familiar

    rows = context.client.get("/images/json")
    names = {familiar(tag) for row in rows for tag in row.get("RepoTags") or [] if tag != "<none>:<none>"}
    return sorted((name, "") for name in names)


def _networks(context: Context) -> Candidates:
    return sorted(
        (row["Name"], f"{row.get('Driver', '')} network") for row in context.client.get("/networks")
    )


def _volumes(context: Context) -> Candidates:
    rows = context.client.get("/volumes").get("Volumes") or []
    return sorted((row["Name"], f"{row.get('Driver', '')} volume") for row in rows)


def _contexts(context: Context) -> Candidates:
    from barque.cli.contexts import Store

    found = [(one.name, one.description or one.host) for one in Store(context.environ).all()]
    return sorted([*found, ("default", "")])


def _objects(context: Context) -> Candidates:
    return [*_containers(context, ()), *_images(context), *_networks(context), *_volumes(context)]


def _plugins(kind: str) -> Callable[[Context], Candidates]:
    def ask(context: Context) -> Candidates:
        found: Any = context.client.get("/info")
        return sorted((name, "") for name in found["Plugins"][kind])

    return ask


_ASKED: dict[str, Callable[[Context], Candidates]] = {
    "container": lambda context: _containers(context, ()),
    "running": lambda context: _containers(context, _RUNNING),
    "stopped": lambda context: _containers(context, _STOPPED),
    "paused": lambda context: _containers(context, _PAUSED),
    "image": _images,
    "network": _networks,
    "volume": _volumes,
    "context": _contexts,
    "object": _objects,
    "runtime": lambda context: sorted((name, "") for name in context.client.get("/info")["Runtimes"]),
    "Log": _plugins("Log"),
    "Network": _plugins("Network"),
    "Volume": _plugins("Volume"),
}


def _filter_candidates(path: str) -> Candidates:
    own = {"container ls": "ps", "image ls": "images", "system events": "events"}.get(path, path)
    keys = _FILTERS["prune"] if own.endswith("prune") else _FILTERS.get(own, "")
    return [*((f"{key}=", "") for key in keys.split()), (":nospace", "")]
