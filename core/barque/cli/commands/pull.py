"""`barque pull`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.flags import Command, Values, flag, text

__all__ = ["PULL"]


def pull(context: Context, values: Values) -> int:
    """Pull an image and print its full name."""
    from barque.cli.pulling import canonical, pull_image
    from barque.cli.references import familiar

    reference = values.arguments[0]
    if not values.flag("quiet") and familiar(reference) != reference:
        sys.stdout.write("Using default tag: latest\n")
    pull_image(
        context,
        reference,
        platform=values.text("platform"),
        quiet=values.flag("quiet"),
        output=sys.stdout,
    )
    sys.stdout.write(canonical(reference) + "\n")
    return 0


PULL = Command(
    summary="Download an image from a registry",
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    run=pull,
    arguments=(1, 1),
    options=(
        text("platform", "Set platform if server is multi-platform capable"),
        flag("quiet", "Suppress verbose output", short="q"),
    ),
    examples=("barque pull alpine:3", "barque pull deb:bash,coreutils@bookworm"),
)
