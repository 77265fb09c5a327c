"""The driver `macvlan`."""

from __future__ import annotations

from dataclasses import dataclass

from barque_net_macvlan.driver import ParentedNetwork
from barque_net_macvlan.options import MACVLAN

__all__ = ["MacvlanConfig", "MacvlanNetwork"]


@dataclass(frozen=True)
class MacvlanConfig:
    """Configuration of the macvlan driver.

    pool: where the IPv4 subnet of a network that names none is chosen from.
    prefix: how long the prefix of such a subnet is.
    """

    pool: str = "192.168.0.0/16"
    prefix: int = 20


class MacvlanNetwork(ParentedNetwork):
    """Containers are on the network of an interface of the host, each with a hardware address of its own.

    Options of a network, as Docker's: `parent` (`eth0`, or `eth0.10`, which is made where it is missing; none: nothing beyond the
    network is reached), `macvlan_mode` (bridge, private, vepa, passthru).
    """

    Config = MacvlanConfig

    def __init__(self, name: str, config: MacvlanConfig) -> None:
        super().__init__(MACVLAN, config.pool, config.prefix)
        self.name = name
