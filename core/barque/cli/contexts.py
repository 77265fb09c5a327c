"""Contexts: named addresses of daemons, kept as docker keeps them, in a directory of ours.

A context is `contexts/meta/<sha256 of the name>/meta.json` and, for TLS, `contexts/tls/<the same>/docker/{ca,cert,key}.pem`.
Ours are in BARQUE_CONFIG (else `$XDG_CONFIG_HOME/barque`, else `~/.config/barque`), where `config.json` names the current one;
docker's (in `$DOCKER_CONFIG`, else `~/.docker`) can be used too, and are never changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from barque.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DEFAULT",
    "TLS_FILES",
    "NamedContext",
    "Store",
    "check_name",
    "config_directory",
    "current",
    "identity",
    "missing",
]

DEFAULT = "default"
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+", re.ASCII)
_LIMIT = 1024 * 1024


def config_directory(environ: Mapping[str, str]) -> str:
    """Where the command line keeps what is its own."""
    given = environ.get("BARQUE_CONFIG")
    base = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return given or os.path.join(base, "barque")


def current(environ: Mapping[str, str]) -> str:
    """What `context use` chose, `default` if nothing."""
    path = os.path.join(config_directory(environ), "config.json")
    document = _read_object(path)
    return str((document or {}).get("currentContext") or DEFAULT)


class NamedContext:
    """One context: `host` is its daemon's address, `tls` the directory of its certificates (empty: none)."""

    __slots__ = ("description", "document", "host", "meta", "name", "skip_verify", "tls")

    def __init__(self, name: str, document: dict[str, Any], meta: str, tls: str) -> None:
        endpoints = document.get("Endpoints")
        endpoint = (endpoints if isinstance(endpoints, dict) else {}).get("docker")
        endpoint = endpoint if isinstance(endpoint, dict) else {}
        metadata = document.get("Metadata")
        self.name = name
        self.document = document
        self.host = str(endpoint.get("Host") or "")
        self.skip_verify = bool(endpoint.get("SkipTLSVerify"))
        self.description = str((metadata if isinstance(metadata, dict) else {}).get("Description") or "")
        self.meta = meta
        self.tls = tls

    def tls_files(self) -> list[str]:
        """The names of the certificates' files that there are."""
        return [name for name in TLS_FILES if self.tls and os.path.exists(os.path.join(self.tls, name))]


class Store:
    """The contexts that exist: ours first, then docker's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.own = os.path.join(config_directory(environ), "contexts")
        dockers = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self._roots = list(dict.fromkeys((self.own, os.path.join(dockers, "contexts"))))

    def find(self, name: str) -> NamedContext:
        """The context of that name. Raises CliError when there is none."""
        for root in self._roots:
            found = self._load(root, identity(name), name)
            if found is not None:
                return found
        raise missing(name)

    def names(self) -> list[str]:
        """All but `default`, sorted."""
        return sorted({context.name for context in self.all()})

    def all(self) -> list[NamedContext]:
        """All but `default`, by name. What cannot be read is left out."""
        found: dict[str, NamedContext] = {}
        for root in self._roots:
            try:
                entries = sorted(os.listdir(os.path.join(root, "meta")))
            except OSError:
                continue
            for entry in entries:
                context = self._load(root, entry)
                if context is not None and context.name not in found:
                    found[context.name] = context
        return [found[name] for name in sorted(found)]

    def is_own(self, context: NamedContext) -> bool:
        """Whether it is in our directory, so that it may be changed."""
        return context.meta.startswith(self.own + os.sep)

    def _load(self, root: str, entry: str, name: str = "") -> NamedContext | None:
        meta = os.path.join(root, "meta", entry)
        document = _read_object(os.path.join(meta, "meta.json"))
        if document is None or (name and document.get("Name") != name) or not document.get("Name"):
            return None
        tls = os.path.join(root, "tls", entry, "docker")
        return NamedContext(str(document["Name"]), document, meta, tls if os.path.isdir(tls) else "")


def identity(name: str) -> str:
    """The name of a context's directory."""
    import hashlib

    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def check_name(name: str) -> None:
    """Raises CliError in Docker's words for what cannot be a new context's name."""
    if not name:
        raise CliError("context name cannot be empty")
    if name == DEFAULT:
        raise CliError('"default" is a reserved context name')
    if not _NAME.fullmatch(name):
        raise CliError(
            f"context name {json.dumps(name)} is invalid, names are validated against regexp "
            '"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )


def missing(name: str) -> CliError:
    """What is raised for a context that is not there."""
    return CliError(f'context "{name}": context not found: open {identity(name)}: no such file or directory')


def _read_object(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_LIMIT))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
