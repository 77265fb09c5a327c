"""The driver `ipvlan`."""

from __future__ import annotations

from dataclasses import dataclass

from barque_net_macvlan.driver import ParentedNetwork
from barque_net_macvlan.options import IPVLAN

__all__ = ["IpvlanConfig", "IpvlanNetwork"]


@dataclass(frozen=True)
class IpvlanConfig:
    """Configuration of the ipvlan driver.

    pool: where the IPv4 subnet of a network that names none is chosen from.
    prefix: how long the prefix of such a subnet is.
    """

    pool: str = "192.168.0.0/16"
    prefix: int = 20


class IpvlanNetwork(ParentedNetwork):
    """Containers are on the network of an interface of the host, with its hardware address and IP addresses of their own.

    Options of a network, as Docker's: `parent` (as macvlan's), `ipvlan_mode` (l2, l3, l3s), `ipvlan_flag` (bridge, private, vepa).
    """

    Config = IpvlanConfig

    def __init__(self, name: str, config: IpvlanConfig) -> None:
        super().__init__(IPVLAN, config.pool, config.prefix)
        self.name = name
