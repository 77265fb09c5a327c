"""`barque system df -v`: image by image, container by container and volume by volume, as docker shows it."""

from __future__ import annotations

from barque.cli.commands.images import image_listing, single_row
from barque.cli.commands.ps import container_listing
from barque.cli.commands.volume import volume_listing
from barque.cli.gotemplate import Template
from barque.cli.listing import Listing, render
from barque.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["details"]

_IMAGES = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINERS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUMES = ("Name", "Links", "Size")
_CACHE = "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED"


def details(usage: Any, template: str) -> str:
    """The text of `df -v`; by a template, without a line end, as docker. Raises TemplateError."""
    images = [single_row(image) for image in usage.get("Images") or []]
    # Docker shows here only what the container itself has written.
    containers = [{**one, "SizeRootFs": 0} for one in usage.get("Containers") or []]
    volumes = usage.get("Volumes") or []
    if template not in ("", "table"):
        document = {
            "Images": _documents(image_listing(long=True), images),
            "Containers": _documents(container_listing(long=True), containers),
            "Volumes": _documents(volume_listing(), volumes),
            "BuildCache": [],
        }
        return Template("{{json .}}" if template == "json" else template).render(document)
    return "\n".join([
        "Images space usage:\n",
        _table(image_listing(long=False), _IMAGES, images),
        "Containers space usage:\n",
        _table(container_listing(long=False), _CONTAINERS, containers),
        "Local Volumes space usage:\n",
        _table(volume_listing(), _VOLUMES, volumes),
        "Build cache usage: 0B\n",
        align(_CACHE) + "\n",
    ])  # fmt: skip


def _table(listing: Listing, columns: tuple[str, ...], rows: list[Any]) -> str:
    listing.default = columns
    return render(listing, rows, "")


def _documents(listing: Listing, rows: list[Any]) -> list[dict[str, Any]]:
    shown = sorted(name for name in listing.columns if name not in listing.hidden)
    return [{name: listing.columns[name](row) for name in shown} for row in rows]
