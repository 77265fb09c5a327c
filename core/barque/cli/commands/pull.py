"""`barque pull`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text

__all__ = ["PULL"]


def pull(context: Context, values: Values) -> int:
    """Pull an image and print its full name."""
    from barque.cli.pulling import canonical, pull_image
    from barque.cli.references import familiar

    reference = values.arguments[0]
    every = values.flag("all-tags")
    if every and familiar(reference) == reference:
        raise CliError("tag can't be used with --all-tags/-a")
    if not (every or values.flag("quiet")) and familiar(reference) != reference:
        sys.stdout.write("Using default tag: latest\n")
    pull_image(
        context,
        reference,
        platform=values.text("platform"),
        quiet=values.flag("quiet"),
        output=sys.stdout,
        every=every,
    )
    sys.stdout.write(canonical(reference, tagged=not every) + "\n")
    return 0


PULL = Command(
    summary="Download an image from a registry",
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    run=pull,
    arguments=(1, 1),
    options=(
        flag("all-tags", "Download all tagged images in the repository", short="a"),
        text("platform", "Set platform if server is multi-platform capable"),
        flag("quiet", "Suppress verbose output", short="q"),
    ),
    examples=(
        "barque pull alpine:3",
        "barque pull -a registry.example.com/base",
        "barque pull deb:bash,coreutils@bookworm",
    ),
)
