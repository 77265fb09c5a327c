"""What `docker login` left in `~/.docker/config.json`, for registries that ask who pulls."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from barque.cli.errors import CliError
from barque.cli.references import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["registry_auth"]

_HUB = "https://index.docker.io/v1/"
_LIMIT = 4 * 1024 * 1024


def registry_auth(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The X-Registry-Auth header for the registry of repository `name`; empty when nothing is stored for it.

    Raises CliError when the file cannot be understood.
    """
    directory = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    path = os.path.join(directory, "config.json")
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_LIMIT))
        host = registry(name)
        stored = _stored(document, _HUB if host == "docker.io" else host)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise CliError(f"error parsing config file ({path}): {error}") from error
    if not stored:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(stored).encode()).decode()}


def _stored(document: Any, server: str) -> dict[str, str]:
    helper = (document.get("credHelpers") or {}).get(server) or document.get("credsStore")
    if helper:
        return _from_helper(str(helper), server)
    entry = (document.get("auths") or {}).get(server) or {}
    stored = {"serveraddress": server}
    if entry.get("identitytoken"):
        return stored | {"identitytoken": entry["identitytoken"]}
    if not entry.get("auth"):
        return {}
    user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    return stored | {"username": user, "password": password.rstrip("\0")}


def _from_helper(helper: str, server: str) -> dict[str, str]:
    """Ask `docker-credential-HELPER` (the protocol: the server's name on stdin, JSON on stdout)."""
    import subprocess

    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=server.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    found = json.loads(done.stdout)
    if found["Username"] == "<token>":
        return {"serveraddress": server, "identitytoken": found["Secret"]}
    return {"serveraddress": server, "username": found["Username"], "password": found["Secret"]}
