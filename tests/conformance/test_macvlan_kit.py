"""The drivers `macvlan` and `ipvlan` pass the conformance kit of kind `network`."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from barque.testing.network import NetworkConformance
from barque_net_macvlan.ipvlan import IpvlanNetwork
from barque_net_macvlan.options import IPVLAN, MACVLAN
from barque_net_macvlan.plugin import MacvlanNetwork
from barque_net_macvlan.probing import lacks

pytestmark = pytest.mark.root

ON_THE_LAN = "containers are on the LAN itself, with addresses of its own"


class OnTheLan(MacvlanNetwork):
    """Networks of the kit name no parent; here they are on the host's interface."""

    def network_create(self, spec):
        return super().network_create(replace(spec, options={"parent": "lan0", **spec.options}))


class IpvlanOnTheLan(IpvlanNetwork):
    """As OnTheLan."""

    def network_create(self, spec):
        return super().network_create(replace(spec, options={"parent": "lan0", **spec.options}))


@pytest.mark.skipif(bool(lacks(MACVLAN)), reason="the kernel makes no macvlan links")
class TestMacvlan(NetworkConformance):
    excused: ClassVar = {"test_neighbours_and_the_lan": ON_THE_LAN}

    @pytest.fixture
    def factory(self):
        return lambda: OnTheLan("macvlan", MacvlanNetwork.Config())


@pytest.mark.skipif(bool(lacks(IPVLAN)), reason="the kernel makes no ipvlan links")
class TestIpvlan(NetworkConformance):
    excused: ClassVar = {
        "test_neighbours_and_the_lan": ON_THE_LAN,
        "test_address_and_mac_that_are_asked_for": "all have the parent's hardware address",
        "test_many_at_once_get_addresses_of_their_own": "all have the parent's hardware address",
    }

    @pytest.fixture
    def factory(self):
        return lambda: IpvlanOnTheLan("ipvlan", IpvlanNetwork.Config())
