"""The part of the log kit about following a log while it is written and rotated."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from barque.spi.log import LogCapability, LogQuery, LogSpec
from barque.testing.log_lab import T0, Follower, log_spec, numbered, write

__all__ = ["LogFollowing"]


class LogFollowing:
    """Tests of the kit; `LogConformance` provides the fixtures."""

    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_follow_sees_what_comes_and_ends_when_finished(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        writer.write("stdout", b"before\n", T0)
        done = threading.Event()
        with Follower(driver, spec, LogQuery(follow=True, finished=done.is_set)) as follower:
            assert follower.wait_for(b"before\n")
            writer.write("stderr", b"later\n", T0)
            assert follower.wait_for(b"before\nlater\n")
            writer.write("stdout", b"last", T0)
            writer.close()
            done.set()
            assert follower.ended()
            assert follower.data == b"before\nlater\nlast"

    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_follow_begins_before_the_first_line(self, driver: Any, spec: LogSpec) -> None:
        done = threading.Event()
        with Follower(driver, spec, LogQuery(follow=True, tail=0, finished=done.is_set)) as follower:
            assert follower.waits()
            write(driver, spec, b"first\n")
            assert follower.wait_for(b"first\n")
            done.set()
            assert follower.ended()

    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_follow_ends_when_the_reader_left(self, driver: Any, spec: LogSpec) -> None:
        left = threading.Event()
        query = LogQuery(follow=True, finished=lambda: False, stopped=left.is_set)
        with Follower(driver, spec, query) as follower:
            left.set()
            assert follower.ended()

    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_follow_tail_then_new_lines(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, numbered(0, 10))
        done = threading.Event()
        with Follower(driver, spec, LogQuery(follow=True, tail=2, finished=done.is_set)) as follower:
            assert follower.wait_for(numbered(8, 10))
            write(driver, spec, numbered(10, 12))
            assert follower.wait_for(numbered(8, 12))
            done.set()
            assert follower.ended()

    @pytest.mark.row("R1")
    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_follow_across_rotations_is_exact(
        self, driver: Any, tmp_path: Path, small_options: Mapping[str, str]
    ) -> None:
        """Numbered lines from a writer that pauses now and then; every follower sees each of them once, in order."""
        spec = log_spec(driver, tmp_path, small_options)
        done = threading.Event()
        query = LogQuery(follow=True, finished=done.is_set)
        with Follower(driver, spec, query) as one, Follower(driver, spec, query) as other:
            writer = driver.log_open(spec)
            for start in range(0, 8000, 50):
                writer.write("stdout", numbered(start, start + 50), time.time_ns())
                if start % 1000 == 0:
                    time.sleep(0.05)
            writer.close()
            done.set()
            for follower in (one, other):
                assert follower.ended()
                assert follower.data == numbered(0, 8000)

    @pytest.mark.needs(LogCapability.FOLLOW)
    def test_abandoned_follower_leaves_no_descriptor(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, b"line\n")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            entries = driver.log_read(spec, LogQuery(follow=True, finished=lambda: False))
            assert next(entries).data == b"line\n"
            entries.close()
        assert len(os.listdir("/proc/self/fd")) == before
