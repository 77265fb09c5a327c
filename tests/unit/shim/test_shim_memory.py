"""How a shim hears of kills for memory: by the counters of both versions of cgroups."""

import os
import select
import tempfile

import pytest

from barque.shim.loop import Loop
from barque.shim.memory_cgroup import MemoryCgroup
from barque.shim.memory_watch import MemoryWatch, is_limited, open_watch


@pytest.fixture
def loop():
    loop = Loop(lambda error: pytest.fail(str(error)))
    yield loop
    loop.close()


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
def test_news_are_what_was_not_told_yet(tmp_path, name):
    file = tmp_path / name
    file.write_text("oom 3\noom_kill 0\n")
    cgroup = MemoryCgroup(os.fsencode(file))
    assert not cgroup.has_news()
    file.write_text("oom 3\noom_kill 2\n")
    assert cgroup.has_news()
    assert not cgroup.has_news()
    assert cgroup.kills() == 2
    file.unlink()
    assert (cgroup.kills(), cgroup.has_news()) == (2, False)
    assert cgroup.counts_at_once is (name == "memory.events")


def test_without_a_cgroup_nothing_is_known():
    cgroup = MemoryCgroup(b"")
    assert (cgroup.kills(), cgroup.has_news()) == (0, False)
    assert open_watch("") == []
    assert open_watch("/nosuch/memory.events") == []
    assert open_watch("/nosuch/memory.oom_control") == []


def test_a_notification_counts_when_the_counter_bears_it_out(loop, tmp_path):
    """Version 1 notifies a moment before it kills."""
    file = tmp_path / "memory.oom_control"
    file.write_text("oom_kill 0\n")
    told = []
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    watch = MemoryWatch(loop, MemoryCgroup(os.fsencode(file)), fd, lambda: told.append("killed"))
    os.eventfd_write(fd, 1)
    loop.later(0.03, lambda: file.write_text("oom_kill 1\n"))
    loop.run(lambda: bool(told))
    assert told == ["killed"]
    os.eventfd_write(fd, 1)  # nobody was killed this time (an oom that was averted, or the cgroup's end)
    done = []
    loop.later(0.3, lambda: done.append(True))
    loop.run(lambda: bool(done))
    assert told == ["killed"]
    watch.close()
    watch.close()


@pytest.mark.root
def test_version_2_notifies_by_the_file_itself(loop):
    """`cgroup.events` of a cgroup of our own stands for `memory.events`: the kernel notifies of both in the same way."""
    unified = next(
        (p for p in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(f"{p}/cgroup.procs")), ""
    )
    if not unified or os.geteuid() != 0:
        pytest.skip("no cgroup of version 2 can be made here")
    place = tempfile.mkdtemp(dir=unified, prefix="bq-memory-")
    child = os.fork()
    if child == 0:
        select.select([], [], [], 60)
        os._exit(0)
    try:
        fd = os.open(f"{place}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 4096)
        changed = []

        class Counter:
            counts_at_once = True

            def has_news(self):
                return True

        watch = MemoryWatch(loop, Counter(), fd, lambda: changed.append(True))
        quiet = []
        loop.later(0.1, lambda: quiet.append(True))
        loop.run(lambda: bool(quiet))
        assert not changed, "a file that has not changed is not news"
        with open(f"{place}/cgroup.procs", "w") as procs:
            procs.write(str(child))
        loop.run(lambda: bool(changed))
        watch.close()
        assert len(changed) == 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.rmdir(place)


@pytest.mark.parametrize(
    ("linux", "limited"),
    [({}, False), ({"resources": {"memory": {"limit": 0}}}, False), ({"resources": {"memory": {"limit": -1}}}, False),
     ({"resources": {"memory": {"limit": 16 << 20}}}, True), ({"resources": {"memory": {"reservation": 1}}}, False)],
)  # fmt: skip
def test_only_a_limit_is_watched(linux, limited):
    assert is_limited({"linux": linux}) is limited
