"""Events: in order, with times of their own, and kept on the disk for those who ask later (row R39)."""

import os
import time

import pytest

from barque.engine import events as bus_module
from barque.engine import journal as journal_module
from barque.engine.events import EventBus


def taken(subscription):
    found = []
    while (event := subscription.next(0)) is not None:
        found.append(event)
    subscription.close()
    return found


def actions(bus, since=0, until=None):
    return [event.action for event in taken(bus.subscribe(since, until))]


def publish(bus, *names):
    for name in names:
        bus.publish("container", name, "id", {"name": "é", "n": "1"})


@pytest.mark.row("R39")
def test_since_knows_what_another_daemon_published(tmp_path):
    publish(EventBus(tmp_path), "create", "start")
    bus = EventBus(tmp_path)
    publish(bus, "die")
    found = taken(bus.subscribe(0, None))
    assert [event.action for event in found] == ["create", "start", "die"]
    assert found[0].attributes == {"name": "é", "n": "1"}
    assert [e.action for e in taken(bus.subscribe(found[1].time_ns, None))] == ["start", "die"]
    assert [e.action for e in taken(bus.subscribe(found[1].time_ns + 1, None))] == ["die"]


def test_nothing_is_opened_or_made_before_the_first_event(tmp_path):
    bus = EventBus(tmp_path / "events")
    assert actions(bus) == []
    assert not (tmp_path / "events").exists()


@pytest.mark.row("R39")
def test_a_line_that_was_cut_costs_itself_and_no_other(tmp_path):
    first = EventBus(tmp_path)
    publish(first, "a", "b")
    current = tmp_path / "current"
    os.truncate(current, current.stat().st_size - 7)
    publish(EventBus(tmp_path), "c")
    assert actions(EventBus(tmp_path)) == ["a", "c"]


@pytest.mark.parametrize(
    "junk",
    [b"\0" * 100, b"[]\n", b"[1,2]\n", b'["x"]\n', b"\xff\xfe\n", b"[99999999999999999999,1,1,1,{}]\n"],
)
def test_what_is_no_event_is_skipped(tmp_path, junk):
    (tmp_path / "current").write_bytes(junk)
    bus = EventBus(tmp_path)
    publish(bus, "a")
    assert actions(bus) == ["a"]
    assert actions(EventBus(tmp_path)) == ["a"]


def test_times_increase_when_the_clock_goes_back_and_over_restarts(tmp_path, monkeypatch):
    now = time.time_ns()
    bus = EventBus(tmp_path)
    publish(bus, "a")
    monkeypatch.setattr(bus_module.time, "time_ns", lambda: now - 3600 * 10**9)
    publish(bus, "b", "c")
    publish(EventBus(tmp_path), "d")
    times = [event.time_ns for event in taken(EventBus(tmp_path).subscribe(0, None))]
    assert times == sorted(set(times))
    assert len(times) == 4


def test_the_journal_is_bounded_and_its_order_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "_MAX_FILE", 4096)
    bus = EventBus(tmp_path)
    names = [f"e{number}" for number in range(400)]
    publish(bus, *names)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * 4096
    found = actions(EventBus(tmp_path))
    assert found == names[-len(found) :]
    assert len(found) > 20


def test_a_slow_subscriber_misses_nothing(tmp_path):
    """More events than are held in memory, before it takes the first one."""
    bus = EventBus(tmp_path)
    subscription = bus.subscribe(None, None)
    names = [f"e{number}" for number in range(1000)]
    publish(bus, *names)
    assert [event.action for event in taken(subscription)] == names


@pytest.mark.row("R39")
def test_past_and_live_meet_without_gap_or_repetition(tmp_path):
    bus = EventBus(tmp_path)
    publish(bus, *"abc")
    subscription = bus.subscribe(0, None)
    assert subscription.next(0).action == "a"
    publish(bus, *"de")
    assert [event.action for event in taken(subscription)] == list("bcde")


def test_until_ends_it(tmp_path):
    bus = EventBus(tmp_path)
    publish(bus, "a", "b")
    middle = taken(bus.subscribe(0, None))[0].time_ns
    subscription = bus.subscribe(0, middle)
    assert [event.action for event in taken(subscription)] == ["a"]
    assert subscription.next(0) is None


def test_a_full_disk_costs_events_and_nothing_else(tmp_path, monkeypatch, caplog):
    bus = EventBus(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module.os, "write", full)
        publish(bus, "a", "b")
    publish(bus, "c")
    assert caplog.text.count("No space left") == 1
    assert actions(EventBus(tmp_path)) == ["c"]


def test_a_bus_without_a_journal_remembers_a_little():
    bus = EventBus()
    publish(bus, *map(str, range(1000)))
    assert actions(bus)[-1] == "999"


def test_a_snapshot_that_nobody_reads_is_closed(tmp_path):
    publish(EventBus(tmp_path), "a")
    before = len(os.listdir("/proc/self/fd"))
    bus = EventBus(tmp_path)
    for _ in range(20):
        bus.subscribe(0, None).close()
    assert len(os.listdir("/proc/self/fd")) <= before
