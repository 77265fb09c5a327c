"""`barque prune` of images, containers, networks, volumes, and of all that together."""

from __future__ import annotations

import sys

from barque.cli.confirm import confirmed
from barque.cli.context import Context
from barque.cli.errors import CliError
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Option, Values, flag
from barque.cli.units import human_size

__all__ = ["CONTAINER_PRUNE", "IMAGE_PRUNE", "NETWORK_PRUNE", "SYSTEM_PRUNE", "VOLUME_PRUNE"]


def image_prune(context: Context, values: Values) -> int:
    """Remove images without a container and, unless -a, without a name."""
    every = values.flag("all")
    what = "images without at least one container associated to them" if every else "dangling images"
    if not values.flag("force") and not confirmed(f"This will remove all {what}."):
        return 0
    text, freed = _images(context, values.all("filter"), every=every)
    return _report([text], freed)


def container_prune(context: Context, values: Values) -> int:
    """Remove the containers that do not run."""
    if not values.flag("force") and not confirmed("This will remove all stopped containers."):
        return 0
    text, freed = _containers(context, values.all("filter"))
    return _report([text], freed)


def network_prune(context: Context, values: Values) -> int:
    """Remove the networks that no container uses."""
    warning = "This will remove all custom networks not used by at least one container."
    if values.flag("force") or confirmed(warning):
        sys.stdout.write(_networks(context, values.all("filter"))[0])
    return 0


def volume_prune(context: Context, values: Values) -> int:
    """Remove the anonymous volumes that no container uses; with --all those with a name too."""
    every, filters = values.flag("all"), values.all("filter")
    if every and any(value.partition("=")[0] == "all" for value in filters):
        raise CliError("conflicting options: cannot specify both --all and --filter all=1")
    what = "all local volumes" if every else "anonymous local volumes"
    if not values.flag("force") and not confirmed(
        f"This will remove {what} not used by at least one container."
    ):
        return 0
    text, freed = _volumes(context, [*filters, *(["all=true"] if every else [])])
    return _report([text], freed)


def system_prune(context: Context, values: Values) -> int:
    """Remove all that is not in use, kind by kind."""
    filters, every, volumes = values.all("filter"), values.flag("all"), values.flag("volumes")
    if volumes and any(value.startswith("until=") for value in filters):
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    if not values.flag("force") and not confirmed(_warning(filters, every=every, volumes=volumes)):
        return 0
    results = [_containers(context, filters), _networks(context, filters)]
    if volumes:
        results.append(_volumes(context, filters))
    results.append(_images(context, filters, every=every))
    results.append(_listed(context, "build", "CachesDeleted", "Deleted build cache objects:", filters))
    return _report([text for text, _ in results], sum(freed for _, freed in results))


def _warning(filters: list[str], *, every: bool, volumes: bool) -> str:
    kinds = ["all stopped containers", "all networks not used by at least one container"]
    kinds += ["all anonymous volumes not used by at least one container"] if volumes else []
    kinds += (
        ["all images without at least one container associated to them", "all build cache"]
        if every
        else ["all dangling images", "unused build cache"]
    )
    lines = ["This will remove:", *(f"  - {kind}" for kind in kinds), ""]
    if filters:
        lines += [
            "  Items to be pruned will be filtered with:",
            *(f"  - {one}" for one in sorted(filters)),
            "",
        ]
    return "\n".join(lines)


def _images(context: Context, filters: list[str], *, every: bool) -> tuple[str, int]:
    wanted = [*filters, f"dangling={'false' if every else 'true'}"]
    answer = context.client.post("/images/prune", {"filters": filters_parameter(wanted)})
    steps = [
        f"untagged: {step['Untagged']}" if step.get("Untagged") else f"deleted: {step['Deleted']}"
        for step in answer.get("ImagesDeleted") or []
    ]
    return _block("Deleted Images:", steps), int(answer.get("SpaceReclaimed") or 0)


def _containers(context: Context, filters: list[str]) -> tuple[str, int]:
    return _listed(context, "containers", "ContainersDeleted", "Deleted Containers:", filters)


def _networks(context: Context, filters: list[str]) -> tuple[str, int]:
    return _listed(context, "networks", "NetworksDeleted", "Deleted Networks:", filters)


def _volumes(context: Context, filters: list[str]) -> tuple[str, int]:
    return _listed(context, "volumes", "VolumesDeleted", "Deleted Volumes:", filters)


def _listed(context: Context, kind: str, field: str, heading: str, filters: list[str]) -> tuple[str, int]:
    answer = context.client.post(f"/{kind}/prune", {"filters": filters_parameter(filters)})
    return _block(heading, answer.get(field) or []), int(answer.get("SpaceReclaimed") or 0)


def _block(heading: str, lines: list[str]) -> str:
    return "\n".join([heading, *lines, "", ""]) if lines else ""


def _report(blocks: list[str], freed: int) -> int:
    sys.stdout.write("".join(blocks) + f"Total reclaimed space: {human_size(freed, 4)}\n")
    return 0


_FORCE = flag("force", "Do not prompt for confirmation", short="f")


def _filter(example: str) -> Option:
    return filter_option(f"Provide filter values (e.g. {example})")


IMAGE_PRUNE = Command(
    summary="Remove unused images",
    usage="[OPTIONS]",
    run=image_prune,
    options=(
        flag("all", "Remove all unused images, not just dangling ones", short="a"),
        _filter('"until=<timestamp>"'),
        _FORCE,
    ),
    examples=("barque image prune -f", "barque image prune -a --filter until=240h"),
)
CONTAINER_PRUNE = Command(
    summary="Remove all stopped containers",
    usage="[OPTIONS]",
    run=container_prune,
    options=(_filter('"until=<timestamp>"'), _FORCE),
    examples=("barque container prune -f --filter until=24h",),
)
NETWORK_PRUNE = Command(
    summary="Remove all unused networks",
    usage="[OPTIONS]",
    run=network_prune,
    options=(_filter('"until=<timestamp>"'), _FORCE),
    examples=("barque network prune -f --filter until=24h",),
)
VOLUME_PRUNE = Command(
    summary="Remove unused local volumes",
    usage="[OPTIONS]",
    run=volume_prune,
    options=(
        flag("all", "Remove all unused volumes, not just anonymous ones", short="a"),
        _filter('"label=<label>"'),
        _FORCE,
    ),
    examples=("barque volume prune -f", "barque volume prune -a --filter label=stage=test"),
)
SYSTEM_PRUNE = Command(
    summary="Remove unused data",
    usage="[OPTIONS]",
    run=system_prune,
    options=(
        flag("all", "Remove all unused images not just dangling ones", short="a"),
        _filter('"label=<key>=<value>"'),
        _FORCE,
        flag("volumes", "Prune anonymous volumes"),
    ),
    examples=("barque system prune -f", "barque system prune -a --filter label=stage=test"),
)
