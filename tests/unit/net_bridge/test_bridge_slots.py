from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface

import pytest

from barque.spi.errors import ResourceExhausted
from barque_net_bridge import slots as slots_module
from barque_net_bridge.background import Background
from barque_net_bridge.sandbox import Plan
from barque_net_bridge.slots import Slot, WarmSlots


class Factory:
    """Makes slots without a kernel."""

    def __init__(self) -> None:
        self.numbers = itertools.count(2)
        self.made: list[Slot] = []
        self.dropped: list[Slot] = []
        self.failures = 0

    def make(self) -> Slot:
        if self.failures:
            self.failures -= 1
            raise ResourceExhausted("no address")
        address = IPv4Address(0x0A000000 + next(self.numbers))
        interface = IPv4Interface((address, 24))
        plan = Plan("h", "eth0", "", (interface,), (), 1, 1, 1500, False, False)
        self.made.append(Slot(-1, "owner", address, plan))
        return self.made[-1]


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("test")
    yield background
    background.close()


def warm(factory: Factory, background: Background, minimum: int = 2, maximum: int = 8) -> WarmSlots:
    return WarmSlots(factory.make, factory.dropped.append, background, minimum, maximum)


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_filled_from_the_first_take_on(factory: Factory, background: Background) -> None:
    stock = warm(factory, background)
    time.sleep(0.05)
    assert factory.made == []
    assert stock.take() is None
    eventually(lambda: len(stock) == 2)
    assert stock.take() is factory.made[0]
    eventually(lambda: len(stock) == 2)
    assert len(factory.made) == 3


def test_grows_when_it_ran_out_and_not_beyond_the_maximum(factory: Factory, background: Background) -> None:
    stock = warm(factory, background)
    stock.take()
    for target in (4, 8, 8):
        while stock.take() is not None:
            pass
        eventually(lambda target=target: len(stock) == target)
    time.sleep(0.05)
    assert len(stock) == 8


def test_shrinks_when_it_is_quiet(
    factory: Factory, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "_IDLE", 0.1)
    stock = warm(factory, background)
    stock.take()
    while stock.take() is not None:
        pass
    eventually(lambda: len(stock) == 4)
    eventually(lambda: len(stock) == 2)
    assert len(factory.dropped) == 2


def test_failure_to_make_one_is_survived(factory: Factory, background: Background) -> None:
    factory.failures = 1
    stock = warm(factory, background)
    stock.take()
    eventually(lambda: factory.failures == 0)
    assert len(stock) == 0
    time.sleep(0.02)
    stock.take()
    eventually(lambda: len(stock) >= 2)


def test_evict_drops_the_slot_with_an_address(factory: Factory, background: Background) -> None:
    stock = warm(factory, background)
    stock.take()
    eventually(lambda: len(stock) == 2)
    assert stock.evict(factory.made[1].address)
    assert factory.dropped == [factory.made[1]]
    assert not stock.evict(factory.made[1].address)
    assert stock.take() is factory.made[0]


def test_close_drops_all_and_ends_making(factory: Factory, background: Background) -> None:
    stock = warm(factory, background)
    stock.take()
    eventually(lambda: len(stock) == 2)
    stock.close()
    stock.close()
    assert factory.dropped == factory.made
    assert stock.take() is None
    time.sleep(0.05)
    assert len(factory.made) == 2


def test_slot_that_is_made_during_close_is_dropped(factory: Factory, background: Background) -> None:
    entered, go_on = threading.Event(), threading.Event()
    make = factory.make

    def slow() -> Slot:
        entered.set()
        go_on.wait(3)
        return make()

    stock = WarmSlots(slow, factory.dropped.append, background, 1, 1)
    stock.take()
    assert entered.wait(3)
    stock.close()
    go_on.set()
    eventually(lambda: factory.dropped == factory.made and len(factory.made) == 1)


def test_none_are_made_when_they_are_off(factory: Factory, background: Background) -> None:
    stock = warm(factory, background, 0, 0)
    for _ in range(3):
        assert stock.take() is None
    time.sleep(0.05)
    assert factory.made == []


def test_background_keeps_to_times_and_order(background: Background) -> None:
    done: list[str] = []
    background.after(0.1, lambda: done.append("late"))
    background.after(0, lambda: done.append("first"))
    background.after(0, lambda: done.append("second"))
    eventually(lambda: len(done) == 2)
    assert done == ["first", "second"]
    eventually(lambda: done[-1] == "late")


def test_background_survives_errors_and_forgets_on_close(background: Background) -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("no")

    background.after(0, fail)
    background.after(0, lambda: done.append(1))
    eventually(lambda: done == [1])
    background.after(60, lambda: done.append(2))
    background.close()
    background.close()
    background.after(0, lambda: done.append(3))
    assert done == [1]
