"""Which commands there are and where each is declared. Nothing is imported before a command is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from barque.cli.flags import Command

__all__ = ["ALIASES", "COMMANDS", "GROUPS", "HIDDEN", "MANAGEMENT", "load", "paths", "suggest"]

GROUPS = {
    "container": "Manage containers",
    "image": "Manage images",
    "context": "Manage contexts",
    "network": "Manage networks",
    "plugin": "Show the drivers of the engine",
    "profile": "Show and check engine profiles",
    "system": "Manage Barque",
    "volume": "Manage volumes",
}
MANAGEMENT = "Management Commands"

_CONTAINER = {
    "attach": "attach:ATTACH",
    "commit": "commit:COMMIT",
    "cp": "cp:CP",
    "create": "run:CREATE",
    "diff": "diff:DIFF",
    "exec": "exec:EXEC",
    "export": "export:EXPORT",
    "inspect": "inspect:CONTAINER_INSPECT",
    "kill": "lifecycle:KILL",
    "logs": "logs:LOGS",
    "ls": "ps:CONTAINER_LS",
    "pause": "changing:PAUSE",
    "port": "port:PORT",
    "prune": "prune:CONTAINER_PRUNE",
    "rename": "changing:RENAME",
    "restart": "lifecycle:RESTART",
    "rm": "remove:RM",
    "run": "run:RUN",
    "start": "start:START",
    "stats": "stats:STATS",
    "stop": "lifecycle:STOP",
    "top": "top:TOP",
    "unpause": "changing:UNPAUSE",
    "update": "changing:UPDATE",
    "wait": "lifecycle:WAIT",
}
_IMAGE = {
    "history": "history:HISTORY",
    "import": "archives:IMPORT",
    "inspect": "inspect:IMAGE_INSPECT",
    "load": "archives:LOAD",
    "ls": "images:IMAGE_LS",
    "prune": "prune:IMAGE_PRUNE",
    "pull": "pull:PULL",
    "push": "push:PUSH",
    "rm": "rmi:IMAGE_RM",
    "save": "archives:SAVE",
    "tag": "tag:TAG",
}
_NETWORK = {
    "connect": "network_connect:CONNECT",
    "create": "network_create:CREATE",
    "disconnect": "network_connect:DISCONNECT",
    "inspect": "network:INSPECT",
    "ls": "network:LS",
    "prune": "prune:NETWORK_PRUNE",
    "rm": "network:RM",
}
_VOLUME = {
    "create": "volume_create:CREATE",
    "inspect": "volume:INSPECT",
    "ls": "volume:LS",
    "prune": "prune:VOLUME_PRUNE",
    "rm": "volume:RM",
    "update": "volume_create:UPDATE",
}
_CONTEXT = {
    "create": "context_change:CREATE",
    "export": "context_archive:EXPORT",
    "import": "context_archive:IMPORT",
    "inspect": "context_show:INSPECT",
    "ls": "context_show:LS",
    "rm": "context_change:RM",
    "show": "context_show:SHOW",
    "update": "context_change:UPDATE",
    "use": "context_change:USE",
}
_SYSTEM = {"events": "events:EVENTS", "info": "info:INFO"}

# The path of a command (its words after `barque`) and "module:name" of its declaration in barque.cli.commands.
COMMANDS = {
    **{name: target for name, target in _CONTAINER.items() if name not in ("ls", "inspect", "prune")},
    **{name: target for name, target in _IMAGE.items() if name not in ("ls", "rm", "inspect", "prune")},
    **_SYSTEM,
    "ps": "ps:PS",
    "images": "images:IMAGES",
    "rmi": "rmi:RMI",
    "inspect": "inspect:INSPECT",
    "login": "login:LOGIN",
    "logout": "login:LOGOUT",
    "search": "search:SEARCH",
    "version": "version:VERSION",
    **{f"container {name}": target for name, target in _CONTAINER.items()},
    **{f"image {name}": target for name, target in _IMAGE.items()},
    **{f"system {name}": target for name, target in _SYSTEM.items()},
    "system check": "check:CHECK",
    "system df": "df:DF",
    "system prune": "prune:SYSTEM_PRUNE",
    "system dial-stdio": "dial_stdio:DIAL_STDIO",
    **{f"network {name}": target for name, target in _NETWORK.items()},
    **{f"volume {name}": target for name, target in _VOLUME.items()},
    **{f"context {name}": target for name, target in _CONTEXT.items()},
    "completion": "completion:COMPLETION",
    "plugin ls": "plugin:LS",
    "plugin show": "plugin:SHOW",
    "plugin verify": "plugin:VERIFY",
    "profile ls": "profile:LS",
    "profile show": "profile:SHOW",
    "profile validate": "profile:VALIDATE",
}

ALIASES = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "context list": "context ls",
    "context remove": "context rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "plugin list": "plugin ls",
    "profile list": "profile ls",
}


# Not shown where commands are listed.
HIDDEN = ("system dial-stdio",)


def load(path: str) -> Command:
    """The declaration of the command at `path`, with its function. KeyError when there is none."""
    module, _, name = COMMANDS[ALIASES.get(path, path)].partition(":")
    declared = getattr(__import__(f"barque.cli.commands.{module}", fromlist=[name]), name)
    if not isinstance(declared, Command):
        raise KeyError(path)
    return declared


def paths(group: str = "") -> Iterator[str]:
    """The commands below a group, or those of the top level, in order."""
    prefix = f"{group} " if group else ""
    return (p for p in sorted(COMMANDS) if p.startswith(prefix) and " " not in p[len(prefix) :])


def suggest(words: str) -> str:
    """The path nearest to a mistyped one, or empty."""
    import difflib

    group = words.partition(" ")[0]
    candidates = [*COMMANDS] if " " in words else [*COMMANDS, *GROUPS]
    if " " in words:
        candidates = [path for path in candidates if path.startswith(f"{group} ")]
    return next(iter(difflib.get_close_matches(words, candidates, n=1, cutoff=0.6)), "")
