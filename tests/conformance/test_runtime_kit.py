"""The runtime drivers pass the conformance kit of kind `runtime`."""

from __future__ import annotations

import pytest

from barque.testing import need
from barque.testing.runtime import RuntimeConformance
from barque_runtime_native.plugin import NativeRuntime
from barque_runtime_runc.deviations import DEVIATIONS
from barque_runtime_runc.plugin import RuncRuntime

pytestmark = pytest.mark.root


class TestRunc(RuntimeConformance):
    excused = DEVIATIONS["runc"]

    @pytest.fixture
    def driver(self):
        return RuncRuntime("runc", RuncRuntime.Config(path=need.tool("runc")))


class TestCrun(RuntimeConformance):
    @pytest.fixture
    def driver(self):
        return RuncRuntime("crun", RuncRuntime.Config(path=need.tool("crun")))


class TestNative(RuntimeConformance):
    @pytest.fixture
    def driver(self):
        return NativeRuntime("native", NativeRuntime.Config())


def test_a_test_of_the_kit_cannot_be_replaced():
    with pytest.raises(TypeError, match="replaces test_delete_twice"):
        type("Cheat", (RuntimeConformance,), {"test_delete_twice": None})


def test_an_excuse_needs_a_reason_and_a_test():
    with pytest.raises(TypeError, match="excuses test_delete_twice"):
        type("Lazy", (RuntimeConformance,), {"excused": {"test_delete_twice": " "}})
    with pytest.raises(TypeError, match="excuses test_nothing"):
        type("Wrong", (RuntimeConformance,), {"excused": {"test_nothing": "because"}})
