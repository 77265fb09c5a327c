"""`barque info`."""

from __future__ import annotations

import sys

from barque import __version__
from barque.cli.context import Context
from barque.cli.flags import Command, Values, text
from barque.cli.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["INFO"]


def info(context: Context, values: Values) -> int:
    """Show the state of the engine and its host."""
    found = context.client.get("/info")
    template = values.text("format")
    if template:
        from barque.cli.gotemplate import Template

        document = {**found, "ClientInfo": {"Version": __version__, "Context": context.name}}
        sys.stdout.write(Template("{{json .}}" if template == "json" else template).render(document) + "\n")
        return 0
    sys.stdout.write(f"Client: Barque\n Version:    {__version__}\n Context:    {context.name}\n\nServer:\n")
    sys.stdout.writelines(f" {line}\n" for line in _server_lines(found))
    sys.stdout.write("\n")
    sys.stdout.flush()
    sys.stderr.writelines(f"{warning}\n" for warning in found.get("Warnings") or ())
    return 0


def _server_lines(found: Any) -> Iterator[str]:
    yield f"Containers: {found.get('Containers', 0)}"
    for state in ("Running", "Paused", "Stopped"):
        yield f" {state}: {found.get(f'Containers{state}', 0)}"
    yield from _facts(found, ("Images",))
    yield f"Server Version: {found.get('ServerVersion', '')}"
    yield f"Storage Driver: {found.get('Driver', '')}"
    for name, value in found.get("DriverStatus") or ():
        yield f" {name}: {value}"
    yield f"Logging Driver: {found.get('LoggingDriver', '')}"
    yield from _facts(found, ("CgroupDriver", "CgroupVersion"))
    yield from _plugins(found.get("Plugins") or {})
    if found.get("Runtimes"):
        yield f"Runtimes: {' '.join(sorted(found['Runtimes']))}"
        yield f"Default Runtime: {found.get('DefaultRuntime', '')}"
    yield from _facts(found, ("InitBinary",))
    yield from _security(found.get("SecurityOptions") or ())
    yield from _facts(found, ("KernelVersion", "OperatingSystem", "OSType", "Architecture", "NCPU"))
    if "MemTotal" in found:
        yield f"Total Memory: {binary_size(found['MemTotal'])}"
    yield from _facts(found, ("Name", "ID", "DockerRootDir"))
    for label in found.get("Labels") or ():
        yield f" Label: {label}"
    yield f"Experimental: {str(bool(found.get('ExperimentalBuild'))).lower()}"
    yield f"Live Restore Enabled: {str(bool(found.get('LiveRestoreEnabled'))).lower()}"


_NAMES = {
    "CgroupDriver": "Cgroup Driver",
    "CgroupVersion": "Cgroup Version",
    "InitBinary": "Init Binary",
    "KernelVersion": "Kernel Version",
    "OperatingSystem": "Operating System",
    "NCPU": "CPUs",
    "DockerRootDir": "Root Dir",
}


def _facts(found: Any, keys: tuple[str, ...]) -> Iterator[str]:
    return (f"{_NAMES.get(key, key)}: {found[key]}" for key in keys if found.get(key) not in (None, ""))


def _plugins(plugins: Any) -> Iterator[str]:
    if plugins:
        yield "Plugins:"
    for kind in ("Volume", "Network", "Authorization", "Log"):
        if plugins.get(kind):
            yield f" {kind}: {' '.join(plugins[kind])}"


def _security(options: Any) -> Iterator[str]:
    if options:
        yield "Security Options:"
    for option in options:
        fields = dict(part.partition("=")[::2] for part in option.split(","))
        yield f" {fields.pop('name', option)}"
        yield from (f"  {key.title()}: {value}" for key, value in fields.items())


INFO = Command(
    summary="Display system-wide information",
    usage="[OPTIONS]",
    run=info,
    options=(text("format", "Format output: 'json', or a Go template", short="f"),),
    examples=("barque info", "barque info -f '{{.DefaultRuntime}}'"),
)
