"""`barque tag`."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values
from barque.cli.transport import segment

__all__ = ["TAG"]


def tag(context: Context, values: Values) -> int:
    """Give an image one more name."""
    from barque.cli.references import complaint, split

    source, target = values.arguments
    parts = split(target)
    if parts is None:
        raise CliError(
            f'Error parsing reference: "{target}" is not a valid repository/tag: {complaint(target)}'
        )
    name, label, digest = parts
    if digest:
        raise CliError("refusing to create a tag with a digest reference")
    context.client.post(f"/images/{segment(source, '/:@')}/tag", {"repo": name, "tag": label or "latest"})
    return 0


TAG = Command(
    summary="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    run=tag,
    arguments=(2, 2),
    examples=("barque tag alpine:3 registry.example.com/base:1",),
)
