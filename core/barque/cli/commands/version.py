"""`barque version`."""

from __future__ import annotations

import sys

from barque import __version__
from barque.cli.context import Context
from barque.cli.errors import DaemonUnavailable
from barque.cli.flags import Command, Values, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VERSION"]

_API_VERSION = "1.51"


def version(context: Context, values: Values) -> int:
    """Show the versions of client and daemon; without a daemon show the client's, then fail."""
    client = _client_side(context.name)
    failure: DaemonUnavailable | None = None
    server: dict[str, Any] | None = None
    try:
        server = context.client.get("/version")
    except DaemonUnavailable as error:
        failure = error
    template = values.text("format")
    if template:
        sys.stdout.write(_templated(template, client, server) + "\n")
    else:
        sys.stdout.write(_client_text(client) + (_server_text(server) if server else ""))
    if failure is not None:
        raise failure
    return 0


def _client_side(context: str) -> dict[str, Any]:
    from os import uname
    from sys import version_info

    machine = uname().machine
    return {
        "Platform": {"Name": "Barque"},
        "Version": __version__,
        "ApiVersion": _API_VERSION,
        "DefaultAPIVersion": _API_VERSION,
        "PythonVersion": ".".join(str(part) for part in version_info[:3]),
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "Context": context,
    }


def _client_text(client: dict[str, Any]) -> str:
    return (
        f"Client: {client['Platform']['Name']}\n"
        f" Version:           {client['Version']}\n"
        f" API version:       {client['ApiVersion']}\n"
        f" Python version:    {client['PythonVersion']}\n"
        f" OS/Arch:           {client['Os']}/{client['Arch']}\n"
        f" Context:           {client['Context']}\n"
    )


def _server_text(server: dict[str, Any]) -> str:
    components = server.get("Components") or [{"Name": "Engine", "Version": server.get("Version", "")}]
    name = (server.get("Platform") or {}).get("Name", "")
    text = f"\nServer:{' ' + name if name else ''}\n"
    for component in components:
        text += f" {component.get('Name', '')}:\n"
        text += f"  {'Version:':<16} {component.get('Version', '')}\n"
        if component.get("Name") == "Engine":
            text += _engine_text(server, component.get("Details") or {})
        else:
            for key, value in sorted((component.get("Details") or {}).items()):
                text += f"  {key + ':':<16} {value}\n"
    return text


def _engine_text(server: dict[str, Any], details: dict[str, str]) -> str:
    def fact(key: str) -> str:
        return str(details.get(key) or server.get(key) or "")

    lines = {
        "API version": f"{fact('ApiVersion')} (minimum version {fact('MinAPIVersion')})",
        "Python version": fact("PythonVersion"),
        "Go version": fact("GoVersion"),
        "Git commit": fact("GitCommit"),
        "Built": fact("BuildTime"),
        "OS/Arch": f"{fact('Os')}/{fact('Arch')}",
        "Experimental": fact("Experimental").lower(),
    }
    return "".join(f"  {name + ':':<16} {value}\n" for name, value in lines.items() if value)


def _templated(template: str, client: dict[str, Any], server: dict[str, Any] | None) -> str:
    from barque.cli.gotemplate import Template

    source = "{{json .}}" if template == "json" else template
    return Template(source).render({"Client": client, "Server": server})


VERSION = Command(
    summary="Show the Barque version information",
    usage="[OPTIONS]",
    run=version,
    options=(text("format", "Format output: 'json', or a Go template", short="f"),),
    examples=("barque version", "barque version --format '{{.Server.Version}}'"),
)
