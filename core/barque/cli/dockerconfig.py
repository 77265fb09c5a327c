"""The client's configuration file, shared with docker: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from barque.cli.errors import CliError
from barque.cli.saving import save

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DockerConfig"]

_LIMIT = 4 * 1024 * 1024


class DockerConfig:
    """The file as a document. What of it is not ours stays as it was."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        directory = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(directory, "config.json")
        self.document = self._read()

    @property
    def auths(self) -> dict[str, Any]:
        """What is stored in the file itself, by registry."""
        self.document["auths"] = table = self._table("auths")
        return table

    def helper(self, server: str) -> str:
        """The name of the credential helper for a registry, or empty."""
        own = self._table("credHelpers").get(server)
        return str(own or self.document.get("credsStore") or "")

    def save(self) -> None:
        """Write the file, whole or not at all, for its owner only. Raises CliError."""
        save(self.path, json.dumps(self.document, indent="\t", ensure_ascii=False).encode())

    def malformed(self, error: Exception) -> CliError:
        """What to raise when the document is not what it should be."""
        return CliError(f"error parsing config file ({self.path}): {error}")

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                document = json.loads(file.read(_LIMIT) or b"{}")
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return {}
        except ValueError as error:
            raise self.malformed(error) from error
        if not isinstance(document, dict):
            raise self.malformed(TypeError("it is not an object"))
        return document

    def _table(self, name: str) -> dict[str, Any]:
        table = self.document.get(name)
        if table is None:
            table = {}
        if not isinstance(table, dict):
            raise self.malformed(TypeError(f"{name} is not an object"))
        return table
