"""`barque inspect`, `barque container inspect`, `barque image inspect`."""

from __future__ import annotations

from collections.abc import Callable

from barque.cli.context import Context
from barque.cli.documents import print_documents
from barque.cli.errors import CliError, DaemonError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import segment

__all__ = ["CONTAINER_INSPECT", "IMAGE_INSPECT", "INSPECT", "show_each"]

Getter = Callable[[str], bytes]


def show_each(names: list[str], template: str, get: Getter) -> int:
    """Print what `get` finds for the names, then fail with what it did not find."""
    found: list[bytes] = []
    failures: list[CliError] = []
    for name in names:
        try:
            found.append(get(name))
        except DaemonError as error:
            failures.append(error)
    if found or not template:
        print_documents(found, template)
    else:
        # Docker ends the output of a template that had nothing to show.
        print()
    if failures:
        raise CliError("\n".join(failure.message for failure in failures))
    return 0


def inspect(context: Context, values: Values) -> int:
    """Show objects of any type: a container's name comes first."""
    wanted = values.text("type")
    getters = _getters(context, size=values.flag("size"))
    if wanted and wanted not in getters:
        known = ", ".join(f'"{name}"' for name in getters)
        raise CliError(f'unknown type: "{wanted}": must be one of {known}')

    def get(name: str) -> bytes:
        for getter in [getters[wanted]] if wanted else getters.values():
            try:
                return getter(name)
            except DaemonError as error:
                if wanted or error.status not in (404, 501):
                    raise
        raise _Missing(name)

    return show_each(values.arguments, values.text("format"), get)


class _Missing(DaemonError):
    """Nothing of any type has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(404, name)
        self.message = f"Error: No such object: {name}"


def _getters(context: Context, *, size: bool) -> dict[str, Getter]:
    client = context.client
    return {
        "container": lambda name: client.get_raw(f"/containers/{segment(name)}/json", {"size": size}),
        "image": lambda name: client.get_raw(f"/images/{segment(name, '/:@')}/json"),
        "network": lambda name: client.get_raw(f"/networks/{segment(name)}"),
        "volume": lambda name: client.get_raw(f"/volumes/{segment(name)}"),
    }


def image_inspect(context: Context, values: Values) -> int:
    """Show images; with --platform only if they are of it."""
    from barque.cli.platforms import platform_parameter

    query = {"platform": platform_parameter(values.text("platform"))}
    return show_each(
        values.arguments,
        values.text("format"),
        lambda name: context.client.get_raw(f"/images/{segment(name, '/:@')}/json", query),
    )


def _of_type(kind: str) -> Callable[[Context, Values], int]:
    def inspect_one(context: Context, values: Values) -> int:
        size = kind == "container" and values.flag("size")
        return show_each(values.arguments, values.text("format"), _getters(context, size=size)[kind])

    return inspect_one


_FORMAT = text("format", "Format output: 'json', or a Go template", short="f")
_SIZE = flag("size", "Display total file sizes if the type is container", short="s")

INSPECT = Command(
    summary="Return low-level information on Barque objects",
    usage="[OPTIONS] NAME|ID [NAME|ID...]",
    run=inspect,
    arguments=(1, None),
    options=(_FORMAT, _SIZE, text("type", "Only inspect objects of the given type")),
    examples=(
        "barque inspect web",
        "barque inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web",
    ),
)
CONTAINER_INSPECT = Command(
    summary="Display detailed information on one or more containers",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    run=_of_type("container"),
    arguments=(1, None),
    options=(_FORMAT, _SIZE),
    examples=("barque container inspect web",),
)
IMAGE_INSPECT = Command(
    summary="Display detailed information on one or more images",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    run=image_inspect,
    arguments=(1, None),
    options=(
        _FORMAT,
        text("platform", "Inspect only if the image is of this platform, as os/architecture[/variant]"),
    ),
    examples=("barque image inspect -f '{{json .Config.Env}}' alpine",),
)
