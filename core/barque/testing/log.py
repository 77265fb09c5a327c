"""The conformance kit of kind `log`: subclass, give one fixture, and your driver is proven.

    class TestMyLog(LogConformance):
        @pytest.fixture
        def driver(self):
            return MyLog("mine", MyLog.Config())

A driver that rotates gives, as `small_options`, `--log-opt`s that make it rotate after about 10 kB and keep at least
1 MB; then following across rotations is tested. Without capability READ only writing is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.log import LogCapability, LogQuery, LogSpec
from barque.testing.kit import Conformance
from barque.testing.log_following import LogFollowing
from barque.testing.log_lab import T0, log_spec, numbered, read, write, write_for_ever

__all__ = ["LogConformance"]

_SECOND = 1_000_000_000
_PIECE = 16 * 1024


class LogConformance(LogFollowing, Conformance):
    """What every log driver must do. See the contract, `barque.spi.log`."""

    @pytest.fixture
    def driver(self) -> Any:
        """The driver under test."""
        raise NotImplementedError("a subclass of LogConformance provides the fixture `driver`")

    @pytest.fixture
    def small_options(self) -> Mapping[str, str]:
        """Options with which the driver rotates often; empty when it does not rotate."""
        return {}

    @pytest.fixture
    def spec(self, driver: Any, tmp_path: Path) -> LogSpec:
        """A log with the driver's default options."""
        return log_spec(driver, tmp_path, {})

    @pytest.fixture(autouse=True)
    def _capabilities(self, request: pytest.FixtureRequest, driver: Any) -> None:
        needed = request.node.get_closest_marker("needs")
        if needed and not set(needed.args) <= driver.capabilities:
            pytest.skip(f"the driver does not declare {', '.join(needed.args)}")

    def test_probe_finds_this_host_usable(self, driver: Any) -> None:
        assert driver.log_probe().usable

    def test_unknown_option_is_refused_by_name(self, driver: Any) -> None:
        with pytest.raises(InvalidArgument, match="unknown log opt 'no-such-option' for"):
            driver.log_validate({"no-such-option": "1"})

    def test_validated_options_are_valid(self, driver: Any) -> None:
        options = driver.log_validate({})
        assert driver.log_validate(options) == options

    def test_writer_closes_twice(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        writer.write("stdout", b"a\n", T0)
        writer.close()
        writer.close()

    def test_remove_twice(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, b"a\n")
        driver.log_remove(spec)
        driver.log_remove(spec)
        assert os.listdir(spec.directory) == []

    def test_writer_leaves_no_descriptor(self, driver: Any, spec: LogSpec) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            write(driver, spec, b"a\n")
        assert len(os.listdir("/proc/self/fd")) == before

    def test_driver_that_cannot_read_says_so(self, driver: Any, spec: LogSpec) -> None:
        if LogCapability.READ in driver.capabilities:
            return
        with pytest.raises(NotImplemented, match="configured logging driver does not support reading"):
            list(driver.log_read(spec, LogQuery()))

    # What is written is read

    @pytest.mark.needs(LogCapability.READ)
    def test_entries_come_back_in_order(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        for number in range(100):
            writer.write(("stdout", "stderr")[number % 2], f"line {number}\n".encode(), T0 + number)
        writer.close()
        entries = list(driver.log_read(spec, LogQuery()))
        assert [entry.data for entry in entries] == [f"line {number}\n".encode() for number in range(100)]
        assert [entry.stream for entry in entries] == ["stdout", "stderr"] * 50
        assert [entry.time_ns for entry in entries] == [T0 + number for number in range(100)]

    @pytest.mark.needs(LogCapability.READ)
    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "\r",
            "tab\there",
            '"quoted" \\back\\n',
            "\x00\x01\x1f\x7f",
            "héllo wörld ☃ 🚢",
            "\u2028\u2029<&>",
            "{}",
        ],
    )
    def test_any_text_comes_back(self, driver: Any, spec: LogSpec, text: str) -> None:
        lines = f"{text}\nplain\n{text}\n".encode()
        write(driver, spec, lines)
        assert read(driver, spec) == lines

    @pytest.mark.needs(LogCapability.READ)
    def test_bytes_that_are_no_text_do_not_stop_the_log(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, bytes(range(256)).replace(b"\n", b"") + b"\nafter\n")
        entries = list(driver.log_read(spec, LogQuery()))
        assert len(entries) == 2
        assert entries[0].data.startswith(bytes(range(10)))
        assert entries[1].data == b"after\n"

    @pytest.mark.needs(LogCapability.READ)
    def test_line_in_several_chunks_is_one_entry(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        for chunk in ("one, ", "two, ", "thr", "ee\nfo", "ur\n"):
            writer.write("stdout", chunk.encode(), T0)
            writer.write("stderr", b"x", T0)
        writer.close()
        entries = list(driver.log_read(spec, LogQuery()))
        assert [entry.data for entry in entries if entry.stream == "stdout"] == [
            b"one, two, three\n",
            b"four\n",
        ]
        assert b"".join(entry.data for entry in entries if entry.stream == "stderr") == b"xxxxx"

    @pytest.mark.needs(LogCapability.READ)
    @pytest.mark.parametrize("size", [_PIECE - 1, _PIECE, _PIECE + 1, 3 * _PIECE, 200_000])
    @pytest.mark.parametrize("chunk", [1000, 65536, 1 << 20])
    def test_long_line_comes_back_in_pieces(self, driver: Any, spec: LogSpec, size: int, chunk: int) -> None:
        text = ("é☃a" * (size // 6 + 1)).encode()[: size - size % 6] + b"b" * (size % 6) + b"\nnext\n"
        writer = driver.log_open(spec)
        for start in range(0, len(text), chunk):
            writer.write("stdout", text[start : start + chunk], T0)
        writer.close()
        entries = list(driver.log_read(spec, LogQuery()))
        assert b"".join(entry.data for entry in entries) == text
        assert all(len(entry.data) <= _PIECE for entry in entries[:-1])
        assert entries[-1].data == b"next\n"

    @pytest.mark.needs(LogCapability.READ)
    def test_line_without_newline_is_kept_at_close(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, b"whole\nrest")
        assert read(driver, spec) == b"whole\nrest"

    @pytest.mark.needs(LogCapability.READ)
    def test_next_writer_appends(self, driver: Any, spec: LogSpec) -> None:
        write(driver, spec, b"first\n")
        write(driver, spec, b"second\n")
        assert read(driver, spec) == b"first\nsecond\n"

    @pytest.mark.needs(LogCapability.READ)
    def test_log_that_was_never_written_is_empty(self, driver: Any, spec: LogSpec) -> None:
        assert read(driver, spec) == b""
        assert read(driver, spec, tail=5) == b""

    @pytest.mark.needs(LogCapability.READ)
    def test_attributes_are_kept_or_left_out(self, driver: Any, tmp_path: Path) -> None:
        attributes = {"tag": 'a"b', "label": "ü"}
        spec = LogSpec("c1", str(tmp_path), driver.log_validate({}), attributes)
        write(driver, spec, b"line\n")
        (entry,) = driver.log_read(spec, LogQuery())
        assert entry.data == b"line\n"
        assert dict(entry.attributes) in (attributes, {})

    # Queries

    @pytest.mark.needs(LogCapability.READ)
    @pytest.mark.parametrize("count", [0, 1, 7, 4999, 5000, 6000])
    def test_tail(self, driver: Any, tmp_path: Path, small_options: Mapping[str, str], count: int) -> None:
        spec = log_spec(driver, tmp_path, small_options)
        write(driver, spec, numbered(0, 5000))
        assert read(driver, spec, tail=count) == numbered(max(0, 5000 - count), 5000)

    @pytest.mark.needs(LogCapability.READ)
    def test_streams_and_times(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        for number in range(10):
            writer.write(("stdout", "stderr")[number % 2], b"%d\n" % number, T0 + number * _SECOND)
        writer.close()
        assert read(driver, spec, stderr=False) == b"0\n2\n4\n6\n8\n"
        assert read(driver, spec, stdout=False, tail=2) == b"7\n9\n"
        assert read(driver, spec, since_ns=T0 + 7 * _SECOND) == b"7\n8\n9\n"
        assert read(driver, spec, until_ns=T0 + 2 * _SECOND) == b"0\n1\n2\n"
        assert read(driver, spec, since_ns=T0 + 3 * _SECOND, until_ns=T0 + 6 * _SECOND, tail=2) == b"5\n6\n"

    @pytest.mark.needs(LogCapability.READ)
    def test_reader_does_not_chase_a_writer(self, driver: Any, spec: LogSpec) -> None:
        writer = driver.log_open(spec)
        writer.write("stdout", numbered(0, 100), T0)
        for seen, _ in enumerate(driver.log_read(spec, LogQuery())):
            writer.write("stdout", numbered(0, 100), T0)
            assert seen < 10_000
        writer.close()

    # After a crash

    @pytest.mark.row("R4")
    @pytest.mark.needs(LogCapability.READ)
    @pytest.mark.parametrize("milliseconds", [5, 20, 80])
    def test_writer_that_was_killed(self, driver: Any, spec: LogSpec, milliseconds: int) -> None:
        """What a killed writer left is a run of whole lines, and the next writer goes on behind it."""
        pid = os.fork()
        if pid == 0:
            write_for_ever(driver, spec)
        time.sleep(milliseconds / 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        write(driver, spec, b"next\n")
        *lines, last = list(driver.log_read(spec, LogQuery()))
        assert last.data == b"next\n"
        first = int(lines[0].data) if lines else 0
        assert [entry.data for entry in lines] == [
            b"%07d\n" % number for number in range(first, first + len(lines))
        ]
