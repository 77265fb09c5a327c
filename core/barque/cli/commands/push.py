"""`barque push`."""

from __future__ import annotations

import sys

from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.flags import Command, Values, flag, text
from barque.cli.transport import segment

__all__ = ["PUSH"]


def push(context: Context, values: Values) -> int:
    """Push one tag of a repository, or with -a all that are stored."""
    from barque.cli.credentials import auth_header, registry_auth
    from barque.cli.messages import follow, sink
    from barque.cli.platforms import platform_parameter
    from barque.cli.references import complaint, repository, split

    reference, every, quiet = values.arguments[0], values.flag("all-tags"), values.flag("quiet")
    parts = split(reference)
    if parts is None:
        raise CliError(complaint(reference))
    name, tag, digest = parts
    if every and (tag or digest):
        raise CliError("tag can't be used with --all-tags/-a")
    if not (every or tag or digest):
        tag = "latest"
        if not quiet:
            sys.stdout.write(f"Using default tag: {tag}\n")
    query = {"tag": tag, "platform": platform_parameter(values.text("platform"))}
    path = repository(name) + (f"@{digest}" if digest else "")
    # The header is never left out: older daemons want one.
    headers = registry_auth(name, context.environ) or auth_header({})
    with sink(sys.stdout, quiet=quiet) as show:
        target = f"/images/{segment(path, '/:@')}/push"
        follow(context.client.stream("POST", target, query, headers), show)
    if quiet:
        sys.stdout.write(path + (f":{tag}" if tag else "") + "\n")
    return 0


PUSH = Command(
    summary="Upload an image to a registry",
    usage="[OPTIONS] NAME[:TAG]",
    run=push,
    arguments=(1, 1),
    options=(
        flag("all-tags", "Push all tags of an image to the repository", short="a"),
        text("platform", "Push only if the image is of this platform, as os/architecture[/variant]"),
        flag("quiet", "Suppress verbose output", short="q"),
    ),
    examples=("barque push registry.example.com/base:1", "barque push -a registry.example.com/base"),
)
