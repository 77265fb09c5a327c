"""The network drivers pass the conformance kit of kind `network`."""

from __future__ import annotations

import pytest

from barque.testing.network import NetworkConformance
from barque_net_bridge.host import HostNetwork
from barque_net_bridge.none import NoneNetwork
from barque_net_bridge.plugin import BridgeNetwork

pytestmark = pytest.mark.root


class TestBridge(NetworkConformance):
    @pytest.fixture
    def factory(self):
        return lambda: BridgeNetwork("bridge", BridgeNetwork.Config())


class TestNone(NetworkConformance):
    @pytest.fixture
    def factory(self):
        return lambda: NoneNetwork("none", NoneNetwork.Config())


class TestHost(NetworkConformance):
    @pytest.fixture
    def factory(self):
        return lambda: HostNetwork("host", HostNetwork.Config())


def test_a_test_of_the_network_kit_cannot_be_replaced():
    with pytest.raises(TypeError, match="replaces test_close_twice"):
        type("Cheat", (NetworkConformance,), {"test_close_twice": None})
