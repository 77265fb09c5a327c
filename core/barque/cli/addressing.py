"""Which daemon: by `--host`, `--context`, the environment's variables, `context use`, or the default socket."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from barque.cli.errors import CliError
from barque.cli.host import Address, default_socket, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.tls_settings import Tls, TlsFlags

__all__ = ["choose", "context_name"]

# A variable that names an address counts more than one that names a context of the same program; ours before docker's.
_VARIABLES = (("BARQUE_HOST", "BARQUE_CONTEXT"), ("DOCKER_HOST", "DOCKER_CONTEXT"))
_TLS_VARIABLES = ("BARQUE_TLS_VERIFY", "BARQUE_TLS", "DOCKER_TLS_VERIFY", "DOCKER_TLS")


def choose(
    flag: str, environ: Mapping[str, str], *, context: str = "", tls: TlsFlags | None = None
) -> Address:
    """The address to use; `flag` is that of `--host`, `context` that of `--context`.

    Raises CliError for an address that is malformed and for a context that is not there."""
    if flag and context:
        raise CliError("conflicting options: cannot specify both --host and --context")
    name = context or ("default" if flag else context_name(environ))
    if name != "default":
        return _of_context(name, environ)
    url = flag or ("" if context else environ.get("BARQUE_HOST") or environ.get("DOCKER_HOST") or "")
    if not url:
        path = default_socket(environ)
        _check_ours(os.path.dirname(path))
        url = f"unix://{path}"
    settings = None
    if not url.startswith(("unix://", "ssh://")) and (tls or any(environ.get(one) for one in _TLS_VARIABLES)):
        from barque.cli.tls_settings import TlsFlags

        settings = (tls or TlsFlags()).settings(environ)
    return parse_address(url, settings)


def context_name(environ: Mapping[str, str]) -> str:
    """The context that counts when the command line names neither it nor a host; mostly `default`."""
    for host, context in _VARIABLES:
        if environ.get(host):
            return "default"
        if environ.get(context):
            return environ[context]
    directory = (
        environ.get("BARQUE_CONFIG") or environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    )
    path = directory if environ.get("BARQUE_CONFIG") else os.path.join(directory, "barque")
    if not os.path.exists(os.path.join(path, "config.json")):
        return "default"
    from barque.cli.contexts import current

    return current(environ)


def _of_context(name: str, environ: Mapping[str, str]) -> Address:
    from barque.cli.contexts import Store

    found = Store(environ).find(name)
    if not found.host:
        raise CliError(f'context "{name}": no docker endpoint is configured')
    return parse_address(found.host, _context_tls(found.tls, found.tls_files(), skip=found.skip_verify))


def _context_tls(directory: str, files: list[str], *, skip: bool) -> Tls | None:
    if not files and not skip:
        return None
    from barque.cli.tls_settings import Tls

    ca, cert, key = (
        os.path.join(directory, name) if name in files else "" for name in ("ca.pem", "cert.pem", "key.pem")
    )
    return Tls(verify=not skip, ca=ca, cert=cert, key=key)


def _check_ours(directory: str) -> None:
    """In /tmp anybody can make a directory first, and with it a daemon that is not ours. Raises CliError."""
    if directory != f"/tmp/barque-{os.geteuid()}":
        return
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CliError(
            f"{directory} is not a directory of this user alone",
            hint="set XDG_RUNTIME_DIR to a directory that is, or name a daemon by --host",
        )
