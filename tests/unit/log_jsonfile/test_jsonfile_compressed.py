"""`compress`: rotated files become .gz behind the writer, and readers find every line once all the same."""

from __future__ import annotations

import gzip
import os
import random
import threading
import time
from pathlib import Path

import pytest

from barque.spi.log import LogQuery, LogSpec
from barque_log_jsonfile import compressing, paths
from barque_log_jsonfile.compressing import compress
from barque_log_jsonfile.paths import LogPaths
from barque_log_jsonfile.plugin import JsonFileLog

T = 1_704_067_200_000_000_001
SECOND = 1_000_000_000


@pytest.fixture
def driver():
    return JsonFileLog("json-file", JsonFileLog.Config())


def spec_of(directory, max_file=50, max_size="2k"):
    options = {"max-size": max_size, "max-file": str(max_file), "compress": "true"}
    return LogSpec("c1", str(directory), options)


def lines_of(start, end):
    return [b"%07d\n" % number for number in range(start, end)]


def read(driver, spec, **query):
    return [entry.data for entry in driver.log_read(spec, LogQuery(**query))]


def names(directory):
    return sorted(os.listdir(directory))


def plain(directory):
    return [name for name in names(directory) if name.startswith("c1-json.log.") and name[12:].isdigit()]


def compressed(directory):
    """Wait until every rotated file is compressed."""
    deadline = time.monotonic() + 10
    while plain(directory) or "c1-json.log.unfinished" in names(directory):
        assert time.monotonic() < deadline, names(directory)
        time.sleep(0.01)


@pytest.fixture
def behind(monkeypatch):
    """Files are compressed in this process, when it is called with the log's paths."""
    monkeypatch.setattr(compressing, "compress_behind", lambda paths: None)
    return compress


def write(driver, spec, lines, step=20):
    writer = driver.log_open(spec)
    for number, start in enumerate(range(0, len(lines), step)):
        writer.write("stdout", b"".join(lines[start : start + step]), T + number * SECOND)
    writer.close()


def test_rotated_files_are_compressed_behind_the_writer(driver, tmp_path):
    spec, lines = spec_of(tmp_path, max_size="20k"), lines_of(0, 3000)
    write(driver, spec, lines, 200)
    compressed(tmp_path)
    packed = [name for name in names(tmp_path) if name.endswith(".gz")]
    assert len(packed) > 5
    assert f"c1-json.log.{len(packed)}.gz" in packed
    with gzip.open(tmp_path / "c1-json.log.1.gz") as file:  # as Docker's: any gunzip reads them
        assert file.readline().startswith(b'{"log":"0')
    assert read(driver, spec) == lines
    assert sum(os.stat(tmp_path / name).st_size for name in packed) < 3000 * 70 / 4
    driver.log_remove(spec)
    assert names(tmp_path) == []


def test_nothing_is_left_of_the_process_that_compresses(driver, tmp_path):
    before = children()
    write(driver, spec_of(tmp_path), lines_of(0, 200))
    compressed(tmp_path)
    assert children() <= before


def children():
    """Of this process, living or not reaped."""
    lists = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for one in lists for pid in one.read_text().split()}


def test_the_oldest_are_dropped_in_either_form(driver, tmp_path, behind):
    spec = spec_of(tmp_path, max_file=3)
    places = LogPaths(str(tmp_path), "c1", 3)
    for start in range(0, 500, 20):
        write(driver, spec, lines_of(start, start + 20))
        if start % 60 == 0:
            behind(places)
        kept = [name for name in names(tmp_path) if "compressing" not in name]
        assert len(kept) <= 3, kept
    text = read(driver, spec)
    assert lines_of(0, 500)[-len(text) :] == text
    assert len(text) > 40


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 37, 150, 399, 400, 500])
def test_tail_over_both_forms(driver, tmp_path, behind, count):
    spec, lines = spec_of(tmp_path), lines_of(0, 400)
    write(driver, spec, lines[:300])
    behind(LogPaths(str(tmp_path), "c1", 50))
    write(driver, spec, lines[300:])
    assert read(driver, spec, tail=count) == lines[len(lines) - min(count, 400) :]


def test_since_until_and_streams(driver, tmp_path, behind):
    spec = spec_of(tmp_path)
    writer = driver.log_open(spec)
    for number in range(200):
        writer.write(("stdout", "stderr")[number % 2], b"%d\n" % number, T + number * SECOND)
    writer.close()
    behind(LogPaths(str(tmp_path), "c1", 50))
    assert read(driver, spec, since_ns=T + 5 * SECOND, until_ns=T + 8 * SECOND) == [
        b"5\n", b"6\n", b"7\n", b"8\n",
    ]  # fmt: skip
    assert read(driver, spec, stderr=False, until_ns=T + 10 * SECOND, tail=2) == [b"8\n", b"10\n"]
    assert read(driver, spec, tail=3, until_ns=T + 50 * SECOND) == [b"48\n", b"49\n", b"50\n"]


def test_old_files_keep_their_time(driver, tmp_path, behind):
    write(driver, spec_of(tmp_path), lines_of(0, 100))
    oldest = LogPaths(str(tmp_path), "c1", 50).path(1)
    os.utime(oldest, ns=(T, T))
    behind(LogPaths(str(tmp_path), "c1", 50))
    assert os.stat(oldest + ".gz").st_mtime_ns == T


@pytest.mark.parametrize("function", ["_open_if_there", "_identity_at"])
@pytest.mark.parametrize("seed", range(2))
def test_every_line_once_while_files_are_rotated_and_compressed(
    driver, tmp_path, behind, monkeypatch, function, seed
):
    """Before each look at a file the writer rotates, or files are compressed, or neither."""
    generator = random.Random(seed)
    spec, places = spec_of(tmp_path, 200, "100"), LogPaths(str(tmp_path), "c1", 200)
    writer, numbers, left, busy = driver.log_open(spec), iter(range(100_000)), [20], []
    original = getattr(paths, function)

    def moving(path):
        if left[0] and not busy:
            busy.append(True)
            left[0] -= 1
            for _ in range(generator.choice((0, 0, 1, 3))):
                writer.write("stdout", b"%d\n" % next(numbers), T)
            if generator.random() < 0.4:
                behind(places)
            busy.clear()
        return original(path)

    for _ in range(10):
        writer.write("stdout", b"%d\n" % next(numbers), T)
    monkeypatch.setattr(paths, function, moving)
    found = [int(line) for line in read(driver, spec)]
    assert found == list(range(found[-1] + 1))
    left[0], done = 20, []
    query = LogQuery(follow=True, finished=lambda: bool(done) or (not left[0] and not done.append(1)))
    found = [int(entry.data) for entry in driver.log_read(spec, query)]
    writer.close()
    assert found == list(range(next(numbers)))


def test_follower_whose_file_is_compressed_under_it(driver, tmp_path, behind):
    spec, places = spec_of(tmp_path), LogPaths(str(tmp_path), "c1", 50)
    write(driver, spec, lines_of(0, 10))
    finished = []
    entries = driver.log_read(spec, LogQuery(follow=True, finished=lambda: bool(finished)))
    seen = [next(entries).data for _ in range(10)]
    write(driver, spec, lines_of(10, 300))  # what it stands on is rotated many times,
    behind(places)  # and compressed
    write(driver, spec, lines_of(300, 400))
    finished.append(True)
    assert [*seen, *(entry.data for entry in entries)] == lines_of(0, 400)


def test_a_killed_compressor_costs_no_line(driver, tmp_path, behind, monkeypatch):
    """It leaves a file in both forms, and an unfinished one; the writer goes on, and the next compressor mends that."""
    spec, places = spec_of(tmp_path), LogPaths(str(tmp_path), "c1", 50)
    write(driver, spec, lines_of(0, 100))
    with monkeypatch.context() as killing:
        killing.setattr(os, "unlink", lambda path: os._exit(1))
        pid = os.fork()
        if pid == 0:
            behind(places)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    both = {name.removesuffix(".gz") for name in names(tmp_path) if name.endswith(".gz")} & set(
        plain(tmp_path)
    )
    assert both
    (tmp_path / "c1-json.log.unfinished").write_bytes(b"half")
    assert read(driver, spec) == lines_of(0, 100)
    write(driver, spec, lines_of(100, 200))
    assert read(driver, spec) == lines_of(0, 200)
    behind(places)
    assert plain(tmp_path) == []
    assert read(driver, spec) == lines_of(0, 200)
    assert "c1-json.log.unfinished" not in names(tmp_path)


def test_one_compresses_at_a_time(driver, tmp_path, behind):
    spec, places = spec_of(tmp_path), LogPaths(str(tmp_path), "c1", 50)
    write(driver, spec, lines_of(0, 500))
    workers = [threading.Thread(target=behind, args=(places,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert plain(tmp_path) == []
    assert read(driver, spec) == lines_of(0, 500)


def test_no_process_to_be_had_loses_no_line(driver, tmp_path, monkeypatch):
    def refused():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    write(driver, spec_of(tmp_path), lines_of(0, 200))
    assert len(plain(tmp_path)) > 3
    assert read(driver, spec_of(tmp_path)) == lines_of(0, 200)


def test_damaged_and_foreign_files(driver, tmp_path, behind):
    spec = spec_of(tmp_path)
    write(driver, spec, lines_of(0, 200))
    behind(LogPaths(str(tmp_path), "c1", 50))
    two, three = tmp_path / "c1-json.log.2.gz", tmp_path / "c1-json.log.3.gz"
    whole = read(driver, spec)
    three.write_bytes(gzip.compress(gzip.decompress(three.read_bytes())))  # by dockerd, or by hand
    assert read(driver, spec) == whole
    two.write_bytes(two.read_bytes()[:-30])
    damaged = read(driver, spec)
    assert set(damaged) < set(whole)
    assert damaged[-20:] == whole[-20:]
    two.write_bytes(b"no gzip at all")
    assert read(driver, spec, tail=1000)[-20:] == whole[-20:]
