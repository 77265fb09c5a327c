"""What the API's JSON does not tell: which objects Go knows as structures, so that `{{.}}` prints `{always 0}` and no map."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["structure"]

# (fields that it always has, all fields in order with the value of one that is left out)
_KNOWN: tuple[tuple[frozenset[str], dict[str, object]], ...] = (
    (frozenset({"Name", "MaximumRetryCount"}), {"Name": "", "MaximumRetryCount": 0}),
    (frozenset({"HostIp", "HostPort"}), {"HostIp": "", "HostPort": ""}),
    (frozenset({"Type", "Config"}), {"Type": "", "Config": {}}),
    (frozenset({"Name", "Hard", "Soft"}), {"Name": "", "Hard": 0, "Soft": 0}),
    (
        frozenset({"Destination", "RW", "Propagation"}),
        {"Type": "", "Name": "", "Source": "", "Destination": "", "Driver": "", "Mode": "", "RW": False, "Propagation": ""},
    ),
    (frozenset({"Subnet"}), {"Subnet": "", "IPRange": "", "Gateway": "", "AuxiliaryAddresses": {}}),
)  # fmt: skip


def structure(value: Mapping[str, Any]) -> list[Any] | None:
    """The values of the structure's fields in order, None when the object is not one of the known ones."""
    for always, fields in _KNOWN:
        if always <= value.keys() <= fields.keys():
            return [value.get(name, missing) for name, missing in fields.items()]
    return None
