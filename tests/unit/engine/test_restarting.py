"""Restart policies without containers: who is restarted, when, and in which order at the daemon's start."""

import threading
import time
from dataclasses import replace

import pytest

from barque.engine.lifecycle.restarting import Restarter, backoff, check_restart_policy, wants_restart
from barque.engine.lifecycle.reviving import Reviver, needed, ranks
from barque.engine.records import ContainerRecord, StoredContainer
from barque.spi.common import Platform
from barque.spi.container import ContainerConfig, EndpointConfig, RestartPolicy
from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque.spi.views import ContainerState


def record(name, status="restarting", code=1, policy="always", **config):
    stored = StoredContainer(
        id=name * 8, name=name, created_ns=0, image_id="", path="x", args=(), platform=Platform(), runtime="",
        storage="", log_driver="", log_options={}, hostname="",
        config=ContainerConfig("image", restart=RestartPolicy(policy), **config),
        state=ContainerState(status, exit_code=code),
    )  # fmt: skip
    return ContainerRecord(stored)


@pytest.mark.parametrize(
    ("policy", "maximum", "code", "stopped", "count", "again"),
    [
        ("no", 0, 1, False, 0, False),
        ("always", 0, 0, False, 1000, True),
        ("always", 0, 0, True, 0, False),
        ("unless-stopped", 0, 0, False, 0, True),
        ("unless-stopped", 0, 1, True, 0, False),
        ("on-failure", 0, 0, False, 0, False),
        ("on-failure", 0, 1, False, 1000, True),
        ("on-failure", 2, 1, False, 1, True),
        ("on-failure", 2, 1, False, 2, False),
        ("on-failure", 2, 1, True, 0, False),
    ],
)
def test_who_is_restarted(policy, maximum, code, stopped, count, again):
    assert wants_restart(RestartPolicy(policy, maximum), code, stopped, count) is again


@pytest.mark.row("R40")
def test_waits_double_up_to_a_minute_and_begin_anew_after_a_long_run():
    waits = [backoff(0.0, 0.1)]
    while waits[-1] < 60.0:
        waits.append(backoff(waits[-1], 9.9))
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [51.2, 60.0]
    assert backoff(60.0, 9.9) == 60.0
    assert backoff(60.0, 10.0) == 0.1
    assert backoff(3.2, 12345.0) == 0.1


@pytest.mark.parametrize(
    "policy",
    [
        RestartPolicy("x"),
        RestartPolicy("no", 1),
        RestartPolicy("always", -1),
        RestartPolicy("on-failure", -1),
    ],
)
def test_nonsense_is_refused(policy):
    with pytest.raises(InvalidArgument, match=r"^invalid restart policy: "):
        check_restart_policy(policy)


class Starts:
    """What a restarter was told to start, and when by its clock."""

    def __init__(self):
        self.names, self.changed = [], threading.Condition()

    def __call__(self, one):
        with self.changed:
            self.names.append(one.name)
            self.changed.notify_all()

    def wait(self, number):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.names) >= number, 5)


@pytest.fixture
def restarter():
    starts = Starts()
    restarter = Restarter(starts)
    restarter.open()
    yield restarter, starts
    restarter.close()


def test_they_are_started_when_they_are_due_in_that_order(restarter):
    subject, starts = restarter
    began = time.monotonic()
    subject.schedule(record("b"), 0.2)
    subject.schedule(record("a"), 0.05)
    starts.wait(2)
    assert starts.names == ["a", "b"]
    assert time.monotonic() - began >= 0.2


def test_a_cancelled_one_is_not_and_one_scheduled_anew_only_once(restarter):
    subject, starts = restarter
    cancelled, twice, last = record("c"), record("t"), record("l")
    subject.schedule(cancelled, 0.05)
    subject.cancel(cancelled)
    subject.schedule(twice, 0.02)
    subject.schedule(twice, 0.1)
    subject.schedule(last, 0.2)
    starts.wait(2)
    assert starts.names == ["t", "l"]


def test_a_start_that_fails_costs_nobody_else():
    starts = Starts()

    def start(one):
        if one.name == "bad":
            raise Conflict("no")
        if one.name == "worse":
            raise RuntimeError("a defect")
        starts(one)

    subject = Restarter(start)
    subject.open()
    for number, name in enumerate(("bad", "worse", "good")):
        subject.schedule(record(name), 0.01 * number)
    starts.wait(1)
    subject.close()
    assert starts.names == ["good"]


def test_without_anything_to_do_there_is_no_thread():
    before = threading.active_count()
    subject = Restarter(lambda _: None)
    subject.schedule(record("early"), 0.0)  # before the networks are there: nothing
    subject.open()
    assert threading.active_count() == before
    subject.close()


@pytest.mark.row("R40")
def test_the_time_of_day_is_not_asked(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    now = [100.0]
    starts = Starts()
    subject = Restarter(starts, clock=lambda: now[0])
    subject.open()
    subject.schedule(record("hour"), 0.02)
    time.sleep(0.1)
    assert starts.names == [], "started by another clock than the one it was given"
    now[0] += 1
    subject.schedule(record("other"), 0.0)
    starts.wait(2)
    subject.close()
    assert starts.names == ["hour", "other"]


# the daemon's start


def test_what_a_container_needs():
    config = ContainerConfig(
        "i", network="container:n", pid_mode="container:p", ipc_mode="shareable", links=("db:alias", "p:x"),
        networks={"net": EndpointConfig(links=("cache:c",))},
    )  # fmt: skip
    assert needed(config) == ("n", "p", "db", "cache")


def test_ranks_follow_the_needs_and_survive_circles():
    needs = {"a": set(), "b": {"a"}, "c": {"b", "a"}, "d": set()}
    assert ranks(needs) == [["a", "d"], ["b"], ["c"]]
    assert ranks({"x": {"y"}, "y": {"x"}, "z": set()}) == [["z"], ["x", "y"]]


def test_who_is_revived_and_in_which_order():
    def stopped(one):
        one.stored = replace(one.stored, user_stopped=True)
        return one

    records = [
        record("tenant", network="container:lender"),
        record("lender", status="exited"),
        record("linked", links=("tenant:t",)),
        record("unless", status="exited", policy="unless-stopped"),
        stopped(record("asleep", status="exited", policy="unless-stopped")),
        stopped(record("always", status="exited")),
        record("done", status="exited", code=0, policy="on-failure"),
        record("plain", status="exited", policy="no"),
        record("dead", status="dead"),
        record("runs", status="running"),
        record("lost", network="container:nobody"),
    ]

    def find(ref):
        for one in records:
            if one.name == ref:
                return one
        raise NotFound(ref)

    started = []
    Reviver(find, lambda one: started.append(one.name)).revive(records)
    assert set(started) == {"tenant", "lender", "linked", "unless", "always", "lost"}
    assert started.index("lender") < started.index("tenant") < started.index("linked")
