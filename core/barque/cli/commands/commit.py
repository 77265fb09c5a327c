"""`barque commit`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, repeated, text

__all__ = ["COMMIT"]


def commit(context: Context, values: Values) -> int:
    """Make an image of a container's changes; print its id."""
    container, name = values.arguments[0], (values.arguments[1:] or [""])[0]
    repository, tag = _split(name)
    query = [("container", container.strip("/")), ("repo", repository), ("tag", tag)]
    query += [("comment", values.text("message")), ("author", values.text("author"))]
    query += [("changes", change) for change in values.all("change")]
    if not values.flag("pause"):
        query.append(("pause", "0"))
    made = context.client.post("/commit", [(key, value) for key, value in query if value])
    sys.stdout.write(f"{made['Id']}\n")
    return 0


def _split(name: str) -> tuple[str, str]:
    from barque.cli.references import complaint, split

    if not name:
        return "", ""
    parts = split(name)
    if parts is None:
        raise CliError(complaint(name))
    if parts[2]:
        raise CliError("refusing to create a tag with a digest reference")
    return parts[0], parts[1]


COMMIT = Command(
    summary="Create a new image from a container's changes",
    usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    run=commit,
    arguments=(1, 2),
    options=(
        text("author", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a"),
        repeated("change", "Apply Dockerfile instruction to the created image", short="c"),
        text("message", "Commit message", short="m"),
        flag("pause", "Pause container during commit", short="p", default=True),
    ),
    examples=(
        "barque commit web web:patched",
        "barque commit -c 'CMD [\"nginx\"]' -m 'with nginx' web web:2",
    ),
)
