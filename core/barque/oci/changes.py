"""`--change` of `commit` and `import`: the Dockerfile instructions that alter an image's run config and run nothing.

Source: the Dockerfile reference; which instructions are allowed and the words of errors as dockerd has them.
"""

from __future__ import annotations

import copy
import posixpath
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from barque.oci.dockerfile import (
    expand,
    leading_flags,
    logical_lines,
    maybe_json,
    pairs,
    split_instruction,
)
from barque.oci.healthcheck import healthcheck
from barque.spi.errors import InvalidArgument

__all__ = ["apply_changes"]

_SHELL = ("/bin/sh", "-c")
_PORTS = re.compile(
    r"(?:(?:\[[0-9a-fA-F:]*\]|[^:]*):)?(?:[0-9-]*:)?([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(\w+))?"
)
_PROTOCOLS = ("tcp", "udp", "sctp")
_TRIGGER = re.compile(r"^\s*ONBUILD\s*", re.IGNORECASE)
_MAX_SIGNAL = 64


def apply_changes(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of the run config `config` (the `config` of an OCI image config: Cmd, Env, Labels …) after `changes`, each one or more
    Dockerfile instructions. Errors: InvalidArgument (`FOO is not a valid change command`, or what is wrong with an instruction)."""
    editor = _Editor(copy.deepcopy(dict(config)))
    if not changes:
        return editor.config
    lines = [(*split_instruction(line), line) for line in logical_lines("\n".join(changes))]
    if not lines:
        raise InvalidArgument("file with no instructions")
    for name, _, _ in lines:
        if name.lower() not in _INSTRUCTIONS:
            raise InvalidArgument(f"{name[:100].lower()} is not a valid change command")
    for name, rest, line in lines:
        editor.apply(name.upper(), rest, line)
    return editor.config


class _Editor:
    """A run config while instructions change it, one after another."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._has_command = False

    def apply(self, name: str, rest: str, line: str) -> None:
        """One instruction: its upper-case name, what follows it, and the whole line."""
        flags, arguments = leading_flags(rest)
        if name == "HEALTHCHECK":
            self.config["Healthcheck"] = healthcheck(flags, arguments, maybe_json)
            return
        if flags:
            raise InvalidArgument(f"Unknown flag: {flags[0][2:].partition('=')[0]}")
        if name == "ONBUILD":
            self._onbuild(arguments, line)
            return
        _INSTRUCTIONS[name.lower()](self, arguments)

    def cmd(self, arguments: str) -> None:
        """CMD: exec form, or shell form run by the image's shell."""
        self.config["Cmd"] = self._command(arguments) if arguments else list(self._shell())
        self._has_command = True

    def entrypoint(self, arguments: str) -> None:
        """ENTRYPOINT; an inherited Cmd was for another entry point and goes."""
        self.config["Entrypoint"] = self._command(arguments) or None
        if not self._has_command:
            self.config["Cmd"] = None

    def env(self, arguments: str) -> None:
        """ENV: a variable that is there keeps its place."""
        known = self._variables()
        found = [(expand(name, known), expand(value, known)) for name, value in pairs("ENV", arguments)]
        for name, value in found:
            if not name:
                raise InvalidArgument("ENV names can not be blank")
            known[name] = value
        self.config["Env"] = [f"{name}={value}" for name, value in known.items()]

    def expose(self, arguments: str) -> None:
        """EXPOSE: ports and ranges with a protocol."""
        if not arguments:
            raise InvalidArgument("EXPOSE requires at least one argument")
        exposed = dict(self.config.get("ExposedPorts") or {})
        for word in arguments.split():
            for spec in expand(word, self._variables()).split():
                exposed.update({port: {} for port in _ports(spec)})
        self.config["ExposedPorts"] = exposed

    def label(self, arguments: str) -> None:
        """LABEL."""
        labels = dict(self.config.get("Labels") or {})
        for raw, value in pairs("LABEL", arguments):
            name = expand(raw, self._variables())
            if not name:
                raise InvalidArgument("LABEL names can not be blank")
            labels[name] = expand(value, self._variables())
        self.config["Labels"] = labels

    def stopsignal(self, arguments: str) -> None:
        """STOPSIGNAL: a name with or without SIG, or a number."""
        name = self._one("STOPSIGNAL", arguments)
        if not _is_signal(name):
            raise InvalidArgument(f"Invalid signal: {name[:100]}")
        self.config["StopSignal"] = name

    def user(self, arguments: str) -> None:
        """USER."""
        self.config["User"] = self._one("USER", arguments)

    def volume(self, arguments: str) -> None:
        """VOLUME: exec form or words."""
        found = maybe_json(arguments)
        paths = [
            expand(p, self._variables()).strip() for p in (arguments.split() if found is None else found)
        ]
        if not paths:
            raise InvalidArgument("VOLUME requires at least one argument")
        if not all(paths):
            raise InvalidArgument("VOLUME specified can not be an empty string")
        self.config["Volumes"] = {**(self.config.get("Volumes") or {}), **{path: {} for path in paths}}

    def workdir(self, arguments: str) -> None:
        """WORKDIR: relative to the one before it."""
        path = self._one("WORKDIR", arguments)
        if not path:
            raise InvalidArgument("cannot normalize nothing")
        if not path.startswith("/"):
            joined = posixpath.join("/", str(self.config.get("WorkingDir") or "/"), path)
            path = "/" + posixpath.normpath(joined).lstrip("/")
        self.config["WorkingDir"] = path

    def _onbuild(self, arguments: str, line: str) -> None:
        trigger = split_instruction(arguments)[0].upper()
        if not trigger:
            raise InvalidArgument("ONBUILD requires at least one argument")
        if trigger == "ONBUILD":
            raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if trigger in ("MAINTAINER", "FROM"):
            raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), _TRIGGER.sub("", line)]

    def _one(self, instruction: str, arguments: str) -> str:
        if not arguments:
            raise InvalidArgument(f"{instruction} requires exactly one argument")
        return expand(arguments, self._variables())

    def _command(self, arguments: str) -> list[str]:
        found = maybe_json(arguments)
        if found is not None:
            return found
        return [*self._shell(), arguments] if arguments else []

    def _shell(self) -> Sequence[str]:
        return self.config.get("Shell") or _SHELL

    def _variables(self) -> dict[str, str]:
        entries = (str(entry).partition("=") for entry in self.config.get("Env") or ())
        return {name: value for name, _, value in entries}


_INSTRUCTIONS: dict[str, Callable[[_Editor, str], None]] = {
    "cmd": _Editor.cmd,
    "entrypoint": _Editor.entrypoint,
    "env": _Editor.env,
    "expose": _Editor.expose,
    "healthcheck": lambda _editor, _arguments: None,
    "label": _Editor.label,
    "onbuild": lambda _editor, _arguments: None,
    "stopsignal": _Editor.stopsignal,
    "user": _Editor.user,
    "volume": _Editor.volume,
    "workdir": _Editor.workdir,
}


def _ports(spec: str) -> list[str]:
    match = _PORTS.fullmatch(spec)
    if not match:
        raise InvalidArgument(f"Invalid containerPort: {spec[:100]}")
    first, last, protocol = int(match[1]), int(match[2] or match[1]), (match[3] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"Invalid proto: {protocol[:100]}")
    if not 0 <= first <= last <= 65535:
        raise InvalidArgument(f"Invalid containerPort: {spec[:100]}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _is_signal(name: str) -> bool:
    if name.isascii() and name.isdigit():
        return 0 < int(name[:4]) <= _MAX_SIGNAL
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    return full in signal.Signals.__members__ or re.fullmatch(r"SIGRT(MIN\+|MAX-)\d{1,2}", full) is not None
