"""`barque images` and `barque image ls`."""

from __future__ import annotations

import time

from barque.cli.context import Context
from barque.cli.filters import filter_option, filters_parameter
from barque.cli.flags import Command, Values, flag, text
from barque.cli.listing import FORMAT_HELP, Listing, print_listing
from barque.cli.units import human_duration, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["IMAGES", "IMAGE_LS", "image_listing", "single_row"]

_NONE = "<none>"


def images(context: Context, values: Values) -> int:
    """List images, one row a name."""
    filters = values.all("filter") + [f"reference={name}" for name in values.arguments]
    template = values.text("format")
    digests = values.flag("digests")
    query = {"all": values.flag("all"), "filters": filters_parameter(filters), "digests": digests}
    found = context.client.get("/images/json", query)
    wanted = digests or "{{.Digest}}" in template
    rows = [row for image in found for row in _rows(image, tagged=wanted, untagged=digests)]
    listing = image_listing(long=values.flag("no-trunc"), digests=digests)
    print_listing(listing, rows, template, quiet=values.flag("quiet"))
    return 0


def _rows(image: Any, *, tagged: bool, untagged: bool) -> list[dict[str, Any]]:
    """A row for each repository and tag, and for each digest of these when `tagged` (or `untagged`) rows show it.

    Docker shows the digest of a repository without a tag for the flag only, not for a template that asks for it.
    """
    tags: dict[str, list[str]] = {}
    for name in image.get("RepoTags") or []:
        repository, _, tag = name.rpartition(":")
        if repository != _NONE:
            tags.setdefault(repository, []).append(tag)
    hashes: dict[str, list[str]] = {}
    for name in image.get("RepoDigests") or []:
        repository, _, digest = name.partition("@")
        if repository != _NONE:
            hashes.setdefault(repository, []).append(digest)
    rows = []
    for repository, known in tags.items():
        own = hashes.pop(repository, [])
        for tag in known:
            rows += [_row(image, repository, tag, digest) for digest in (own if tagged and own else [_NONE])]
    for repository, own in hashes.items():
        rows += [_row(image, repository, _NONE, digest) for digest in (own if untagged else [""])]
    return rows or [_row(image, _NONE, _NONE, _NONE)]


def _row(image: Any, repository: str, tag: str, digest: str) -> dict[str, Any]:
    return {**image, "repository": repository, "tag": tag, "digest": digest}


def single_row(image: Any) -> dict[str, Any]:
    """One row for an image, by the first of its names."""
    repository, _, tag = (image.get("RepoTags") or [f"{_NONE}:{_NONE}"])[0].rpartition(":")
    return _row(image, repository, tag, "")


def image_listing(*, long: bool, digests: bool = False) -> Listing:
    """The columns of images; `long`: nothing is truncated, `digests`: they are shown."""
    columns = {
        "Repository": lambda row: row["repository"],
        "Tag": lambda row: row["tag"],
        "Digest": lambda row: row["digest"],
        "ID": lambda row: row["Id"] if long else row["Id"].partition(":")[2][:12] or row["Id"][:12],
        "CreatedSince": lambda row: _since(row.get("Created") or 0),
        "CreatedAt": lambda row: _created_at(row.get("Created") or 0),
        "Size": lambda row: human_size(row.get("Size") or 0),
        "VirtualSize": lambda row: human_size(row.get("VirtualSize") or row.get("Size") or 0, 4),
        "SharedSize": lambda row: _known_size(row.get("SharedSize", -1)),
        "UniqueSize": lambda row: _unique_size(row),
        "Containers": lambda row: "N/A" if row.get("Containers", -1) == -1 else str(row["Containers"]),
    }
    digest = ("Digest",) if digests else ()
    return Listing(
        columns=columns,
        headings=_HEADINGS,
        default=("Repository", "Tag", *digest, "ID", "CreatedSince", "Size"),
        quiet="ID",
    )


_HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}


def _since(created: int) -> str:
    return f"{human_duration(time.time() - created)} ago" if created > 0 else "N/A"


def _created_at(created: int) -> str:
    from barque.cli.times import go_time

    return go_time(created * 1_000_000_000)


def _known_size(size: int) -> str:
    return "N/A" if size == -1 else human_size(size, 4)


def _unique_size(row: Any) -> str:
    size, shared = row.get("VirtualSize") or row.get("Size", -1), row.get("SharedSize", -1)
    return "N/A" if -1 in (size, shared) else human_size(size - shared, 4)


IMAGES = Command(
    summary="List images",
    usage="[OPTIONS] [REPOSITORY[:TAG]]",
    run=images,
    arguments=(0, 1),
    options=(
        flag("all", "Show all images (default hides intermediate images)", short="a"),
        flag("digests", "Show digests"),
        filter_option("Filter output based on conditions provided", "f"),
        text("format", FORMAT_HELP),
        flag("no-trunc", "Don't truncate output"),
        flag("quiet", "Only show image IDs", short="q"),
    ),
    examples=("barque images", "barque images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"),
)
IMAGE_LS = IMAGES
