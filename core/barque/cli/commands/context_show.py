"""`barque context ls`, `inspect` and `show`."""

from __future__ import annotations

import json
import sys

from barque.cli.context import Context
from barque.cli.contexts import DEFAULT, NamedContext, Store
from barque.cli.documents import print_documents
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.host import default_socket
from barque.cli.listing import FORMAT_HELP, Listing, print_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["INSPECT", "LS", "SHOW"]

_HEADINGS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Error": "ERROR",
    "Current": "CURRENT",
}
_DEFAULT_DESCRIPTION = "Current BARQUE_HOST based configuration"
_LONGEST = 45


def default_host(context: Context) -> str:
    """The address of the context `default`."""
    environ = context.environ
    return environ.get("BARQUE_HOST") or environ.get("DOCKER_HOST") or f"unix://{default_socket(environ)}"


def list_contexts(context: Context, values: Values) -> int:
    """List contexts by name, ours and docker's."""
    used = context.name
    found = Store(context.environ).all()
    rows: list[dict[str, Any]] = [
        _row(one.name, one.description, one.host, used) for one in found if one.name != DEFAULT
    ]
    rows.append(_row(DEFAULT, _DEFAULT_DESCRIPTION, default_host(context), used))
    if used not in [row["Name"] for row in rows]:
        rows.append(_row(used, "", "", used) | {"Error": f'context "{used}": context not found'})
    rows.sort(key=lambda row: str(row["Name"]))
    print_listing(_listing(), rows, values.text("format"), quiet=values.flag("quiet"))
    if context.environ.get("BARQUE_HOST") or context.environ.get("DOCKER_HOST"):
        warn_of_host(context, "a context")
    return 0


def warn_of_host(context: Context, what: str) -> None:
    """Say that a variable is stronger than the context that was chosen."""
    name = "BARQUE_HOST" if context.environ.get("BARQUE_HOST") else "DOCKER_HOST"
    sys.stdout.flush()
    sys.stderr.write(
        f"Warning: {name} environment variable overrides the active context. To use {what}, either set the global "
        f"--context flag, or unset {name} environment variable.\n"
    )


def _row(name: str, description: str, host: str, used: str) -> dict[str, Any]:
    return {
        "Name": name, "Description": description, "DockerEndpoint": host, "Error": "", "Current": name == used,
    }  # fmt: skip


def _listing() -> Listing:
    columns: dict[str, Any] = {name: lambda row, name=name: row[name] for name in _HEADINGS}
    # The table marks the current one; the column itself is the bare name.
    columns["Marked"] = lambda row: row["Name"] + (" *" if row["Current"] else "")
    columns["Short"] = lambda row: _short(row["Error"])
    return Listing(
        columns=columns,
        headings=_HEADINGS | {"Marked": "NAME", "Short": "ERROR"},
        default=("Marked", "Description", "DockerEndpoint", "Short"),
        quiet="Name",
        hidden=("Marked", "Short"),
    )


def _short(error: str) -> str:
    return error if len(error) <= _LONGEST else error[: _LONGEST - 1] + "…"


def inspect(context: Context, values: Values) -> int:
    """Show contexts in detail; without a name the one in use."""
    store = Store(context.environ)
    found: list[bytes] = []
    failures: list[str] = []
    for name in values.arguments or [context.name]:
        try:
            document = _default(context) if name == DEFAULT else _document(store.find(name))
        except CliError as error:
            failures.append(error.message)
            continue
        found.append(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape"))
    print_documents(found, values.text("format"))
    if failures:
        raise CliError("\n".join(failures))
    return 0


def _default(context: Context) -> dict[str, Any]:
    endpoint = {"Host": default_host(context), "SkipTLSVerify": False}
    return {
        "Name": DEFAULT,
        "Metadata": {},
        "Endpoints": {"docker": endpoint},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    }


def _document(found: NamedContext) -> dict[str, Any]:
    files = found.tls_files()
    meta = found.meta
    return {
        "Name": found.name,
        "Metadata": found.document.get("Metadata") or {},
        "Endpoints": found.document.get("Endpoints") or {},
        "TLSMaterial": {"docker": files} if files else {},
        "Storage": {"MetadataPath": meta, "TLSPath": "/tls/".join(meta.rsplit("/meta/", 1))},
    }


def show(context: Context, _values: Values) -> int:
    """Print the name of the context in use."""
    sys.stdout.write(f"{context.name}\n")
    return 0


LS = Command(
    summary="List contexts",
    usage="[OPTIONS]",
    run=list_contexts,
    options=(text("format", FORMAT_HELP), flag("quiet", "Only show context names", short="q")),
    examples=("barque context ls",),
)
INSPECT = Command(
    summary="Display detailed information on one or more contexts",
    usage="[OPTIONS] [CONTEXT] [CONTEXT...]",
    run=inspect,
    arguments=(0, None),
    options=(text("format", "Format output: 'json', or a Go template", short="f"),),
    examples=("barque context inspect far", "barque context inspect -f '{{.Endpoints.docker.Host}}' far"),
)
SHOW = Command(
    summary="Print the name of the current context",
    usage="",
    run=show,
    examples=("barque context show",),
)
