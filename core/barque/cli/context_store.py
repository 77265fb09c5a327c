"""Writing contexts: whole or not at all, for their owner only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from barque.cli.contexts import DEFAULT, TLS_FILES, NamedContext, Store, config_directory, identity
from barque.cli.errors import CliError
from barque.cli.saving import save as save_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["delete", "metadata", "save", "use"]


def metadata(name: str, description: str, host: str, *, skip_verify: bool) -> dict[str, Any]:
    """What `meta.json` holds."""
    endpoint: dict[str, Any] = {"Host": host} if host else {}
    return {
        "Name": name,
        "Metadata": {"Description": description} if description else {},
        "Endpoints": {"docker": endpoint | {"SkipTLSVerify": skip_verify}},
    }


def save(store: Store, document: dict[str, Any], tls: Mapping[str, bytes] | None) -> None:
    """Write a context of ours, with the certificates `tls` by the names of their files (None: they stay as they are).

    Raises CliError."""
    entry = identity(document["Name"])
    if tls is not None:
        for name in TLS_FILES:
            path = os.path.join(store.own, "tls", entry, "docker", name)
            if name in tls:
                save_file(path, tls[name])
            else:
                _unlink(path)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    save_file(os.path.join(store.own, "meta", entry, "meta.json"), text.encode("utf-8", "surrogateescape"))


def delete(store: Store, context: NamedContext) -> None:
    """Remove a context of ours. Raises CliError."""
    entry = identity(context.name)
    _unlink(os.path.join(store.own, "meta", entry, "meta.json"))
    for name in TLS_FILES:
        _unlink(os.path.join(store.own, "tls", entry, "docker", name))
    for directory in (f"meta/{entry}", f"tls/{entry}/docker", f"tls/{entry}"):
        try:
            os.rmdir(os.path.join(store.own, directory))
        except OSError:  # there was none, or it holds what is not ours
            continue


def use(environ: Mapping[str, str], name: str) -> None:
    """Make a context the current one. Raises CliError."""
    path = os.path.join(config_directory(environ), "config.json")
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        document = {}
    except (OSError, ValueError) as error:
        raise CliError(f"error parsing config file ({path}): {error}") from error
    if not isinstance(document, dict):
        raise CliError(f"error parsing config file ({path}): it is not an object")
    if name == DEFAULT:
        document.pop("currentContext", None)
    else:
        document["currentContext"] = name
    save_file(path, json.dumps(document, indent="\t", ensure_ascii=False).encode())


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CliError(f"cannot remove {path}: {error.strerror}") from error
