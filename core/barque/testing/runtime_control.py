"""The part of the runtime kit about a container that runs: pause, resume, update, stats, processes."""

from __future__ import annotations

import signal
import time

import pytest

from barque.spi.errors import Conflict, InvalidArgument, NotFound, ResourceExhausted
from barque.spi.runtime import RuntimeCapability
from barque.testing.runtime_lab import FOREVER, RuntimeLab, Task, eventually
from barque.testing.static_init import Step, call, loop, pause, sleep, spawn, write

__all__ = ["RuntimeControl"]

_MIB = 1 << 20
_READ_WRITE, _PRIVATE_NOW = 3, 0x8022  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE
_STILL_SECONDS = 0.25
_TICK = loop(write(1, b"."), sleep(0.005))
_LIMITS = {"memory": {"limit": 32 * _MIB}, "pids": {"limit": 10}, "cpu": {"quota": 40_000, "period": 80_000}}

pausing = pytest.mark.needs(RuntimeCapability.PAUSE)
updating = pytest.mark.needs(RuntimeCapability.UPDATE)
measuring = pytest.mark.needs(RuntimeCapability.STATS)


class RuntimeControl:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    # Pause

    @pausing
    def test_pause_stops_every_process_and_resume_lets_them_go_on(self, lab: RuntimeLab) -> None:
        tasks = [lab.run_steps("a", spawn(_TICK), pause())]
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            tasks.append(lab.exec("a", lab.program(_TICK)))
        assert all(_goes_on(task) for task in tasks)
        lab.pause("a")
        state = lab.state("a")
        assert (state.status, state.pid) == ("paused", tasks[0].pid)
        assert all(_is_still(task) for task in tasks)
        lab.resume("a")
        assert lab.state("a").status == "running"
        assert all(_goes_on(task) for task in tasks)

    @pausing
    def test_pause_and_resume_are_idempotent(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", _TICK)
        for _ in range(2):
            lab.pause("a")
            assert lab.state("a").status == "paused"
        assert _is_still(task)
        for _ in range(2):
            lab.resume("a")
            assert lab.state("a").status == "running"
        assert _goes_on(task)

    @pausing
    @pytest.mark.needs(RuntimeCapability.PAUSE, RuntimeCapability.EXEC)
    def test_exec_in_a_paused_container_is_a_conflict(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        lab.pause("a")
        with pytest.raises(Conflict):
            lab.exec("a", "true")
        lab.resume("a")
        assert lab.wait(lab.exec("a", "true")) == 0

    @pausing
    @pytest.mark.parametrize("all", [False, True])
    def test_kill_of_a_paused_container(self, lab: RuntimeLab, all: bool) -> None:
        task = lab.run_steps("a", spawn(), pause())
        lab.pause("a")
        lab.kill("a", all=all)
        assert lab.wait(task) == -signal.SIGKILL
        assert lab.state("a").status == "stopped"
        lab.delete("a")
        assert lab.cgroups("a") == []

    @pausing
    def test_delete_of_a_paused_container(self, lab: RuntimeLab) -> None:
        task = lab.run("a", FOREVER)
        lab.pause("a")
        with pytest.raises(Conflict):
            lab.delete("a")
        assert lab.state("a").status == "paused"
        lab.delete("a", force=True)
        assert lab.wait(task) == -signal.SIGKILL
        assert lab.cgroups("a") == []

    @pausing
    def test_pause_of_what_does_not_run(self, lab: RuntimeLab) -> None:
        task = lab.create("a", "true")
        for hook in (lab.pause, lab.resume):
            with pytest.raises(Conflict):
                hook("a")
        lab.start("a")
        assert lab.wait(task) == 0
        for hook in (lab.pause, lab.resume):
            with pytest.raises(Conflict):
                hook("a")
            with pytest.raises(NotFound):
                hook("nobody")

    # Update

    @updating
    @pytest.mark.parametrize("started", [True, False])
    def test_update_changes_limits(self, lab: RuntimeLab, started: bool) -> None:
        lab.create("a", FOREVER)
        if started:
            lab.start("a")
        for _ in range(2):
            lab.update("a", **_LIMITS)
            assert _limits(lab) == (str(32 * _MIB), "10", ["40000"])
        lab.update("a", pids={"limit": 11})
        assert _limits(lab) == (str(32 * _MIB), "11", ["40000"])

    @updating
    def test_update_in_the_order_the_kernel_needs(self, lab: RuntimeLab) -> None:
        """Memory is never above memory and swap, so which is written first depends on the direction."""
        spec = lab.spec("a", [FOREVER])
        spec["linux"]["resources"]["memory"] = {"limit": 32 * _MIB, "swap": 32 * _MIB}
        lab.run("a", spec=spec)
        names = ("memory.memsw.limit_in_bytes", "memory.swap.max")
        before = lab.limit("a", *names)
        if not before:
            pytest.skip("this kernel does not account for swap")
        for size in (64 * _MIB, 48 * _MIB):
            lab.update("a", memory={"limit": size, "swap": size})
            assert lab.limit("a", "memory.limit_in_bytes", "memory.max") == str(size)
            assert lab.limit("a", *names) == ("0" if before == "0" else str(size))

    @updating
    def test_update_that_fails_leaves_the_old_limits(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        lab.update("a", **_LIMITS)
        with pytest.raises(InvalidArgument, match=r"cpu\.quota"):
            lab.update("a", memory={"limit": 48 * _MIB}, pids={"limit": 12}, cpu={"quota": 5})
        assert _limits(lab) == (str(32 * _MIB), "10", ["40000"])
        lab.update("a", pids={"limit": 13})
        assert _limits(lab) == (str(32 * _MIB), "13", ["40000"])

    @updating
    def test_update_below_what_is_in_use(self, lab: RuntimeLab) -> None:
        """v1 refuses; v2 reclaims and kills, so there a runtime need not refuse."""
        task = lab.run_steps("a", _use_memory(16 * _MIB), write(1, b"!"), pause())
        assert eventually(lambda: lab.output(task) == "!")
        if not lab.limit("a", "memory.limit_in_bytes"):
            pytest.skip("cgroup v2 reclaims memory instead of refusing a limit")
        with pytest.raises(ResourceExhausted):
            lab.update("a", pids={"limit": 12}, memory={"limit": 4096})
        assert _limits(lab)[:2] == (str(64 * _MIB), "64")

    @updating
    @pytest.mark.parametrize(
        ("resources", "field"),
        [
            ({"memory": {"limit": "much"}}, "memory.limit"),
            ({"cpu": {"shares": [1]}}, "cpu.shares"),
            ({"pids": "many"}, "pids"),
        ],
    )
    def test_update_with_wrong_values_names_the_field(
        self, lab: RuntimeLab, resources: dict[str, object], field: str
    ) -> None:
        lab.run("a", FOREVER)
        with pytest.raises(InvalidArgument, match=field):
            lab.update("a", **resources)

    @updating
    def test_update_of_what_does_not_run(self, lab: RuntimeLab) -> None:
        assert lab.wait(lab.run("a", "true")) == 0
        with pytest.raises(Conflict):
            lab.update("a", pids={"limit": 5})
        with pytest.raises(NotFound):
            lab.update("nobody", pids={"limit": 5})

    @updating
    def test_update_does_not_change_device_rules(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        before = lab.limit("a", "devices.list")
        lab.update("a", devices=[{"allow": True, "access": "rwm"}], pids={"limit": 9})
        assert lab.limit("a", "devices.list") == before
        assert lab.limit("a", "pids.max") == "9"

    # Statistics

    @measuring
    def test_stats_are_plausible(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", _use_memory(8 * _MIB), write(1, b"!"), loop())
        assert eventually(lambda: lab.output(task) == "!")
        first = lab.stats("a")
        assert 8 * _MIB <= first.memory_usage <= 64 * _MIB
        assert first.memory_max_usage == 0 or first.memory_max_usage >= first.memory_usage // 2
        assert first.memory_limit == 64 * _MIB
        assert max(first.memory_detail.values()) >= 8 * _MIB
        assert (first.pids_current, first.pids_limit) == (1, 64)
        assert eventually(lambda: lab.stats("a").cpu_total >= first.cpu_total + 50_000_000)
        later = lab.stats("a")
        assert later.cpu_user >= first.cpu_user
        assert later.cpu_user + later.cpu_system > 0
        assert not later.cpu_per_cpu or sum(later.cpu_per_cpu) >= first.cpu_total

    @measuring
    def test_stats_tell_of_throttling(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(loop())])
        spec["linux"]["resources"]["cpu"] = {"quota": 2_000, "period": 20_000}
        lab.run("a", spec=spec)
        assert eventually(lambda: lab.stats("a").cpu_throttled_periods > 2)
        stats = lab.stats("a")
        assert stats.cpu_periods >= stats.cpu_throttled_periods
        assert stats.cpu_throttled_time > 0

    @measuring
    def test_stats_without_limits(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [FOREVER])
        del spec["linux"]["resources"]["memory"], spec["linux"]["resources"]["pids"]
        lab.run("a", spec=spec)
        stats = lab.stats("a")
        assert (stats.memory_limit, stats.pids_limit) == (0, 0)

    @measuring
    def test_stats_and_processes_of_what_does_not_run(self, lab: RuntimeLab) -> None:
        assert lab.wait(lab.run("a", "true")) == 0
        with pytest.raises(Conflict):
            lab.stats("a")
        assert lab.processes("a") == ()
        for hook in (lab.stats, lab.processes):
            with pytest.raises(NotFound):
                hook("nobody")

    @measuring
    def test_processes(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", spawn(), spawn(), pause())
        assert eventually(lambda: len(lab.processes("a")) == 3)
        pids = lab.processes("a")
        assert list(pids) == sorted(pids)
        assert set(pids) == lab.members("a")
        assert task.pid in pids
        if RuntimeCapability.EXEC in lab.driver.capabilities:
            assert lab.exec("a", FOREVER).pid in lab.processes("a")


def _use_memory(size: int) -> Step:
    return call("mmap", 0, size, _READ_WRITE, _PRIVATE_NOW, -1, 0)


def _goes_on(task: Task) -> bool:
    before = task.stdout.stat().st_size
    return eventually(lambda: task.stdout.stat().st_size > before + 2)


def _is_still(task: Task) -> bool:
    before = task.stdout.stat().st_size
    time.sleep(_STILL_SECONDS)
    return task.stdout.stat().st_size == before


def _limits(lab: RuntimeLab) -> tuple[str, str, list[str]]:
    """Memory, pids, and the processor quota."""
    memory = lab.limit("a", "memory.limit_in_bytes", "memory.max")
    return memory, lab.limit("a", "pids.max"), lab.limit("a", "cpu.cfs_quota_us", "cpu.max").split()[:1]
