"""Rotation, its bound, torn lines, full disks, tails across files."""

from __future__ import annotations

import os
import resource
import subprocess
import time

import pytest

from barque.spi.log import LogQuery, LogSpec
from barque_log_jsonfile import paths
from barque_log_jsonfile.cursor import MAX_LINE
from barque_log_jsonfile.paths import LogPaths
from barque_log_jsonfile.plugin import JsonFileLog

T = 1_704_067_200_000_000_001


@pytest.fixture
def driver():
    return JsonFileLog("json-file", JsonFileLog.Config())


def spec_of(tmp_path, **options):
    return LogSpec(
        "c1", str(tmp_path), {name.replace("_", "-"): str(value) for name, value in options.items()}
    )


def numbered(start, end):
    return b"".join(b"%07d\n" % number for number in range(start, end))


def write(driver, spec, data):
    writer = driver.log_open(spec)
    writer.write("stdout", data, T)
    writer.close()


def read(driver, spec, **query):
    return b"".join(entry.data for entry in driver.log_read(spec, LogQuery(**query)))


def sizes(tmp_path):
    return {path.name: path.stat().st_size for path in tmp_path.iterdir()}


@pytest.mark.row("R22")
@pytest.mark.parametrize(("size", "count"), [(10_000, 2), (10_000, 1), (300, 5), (70_000, 3)])
def test_bound_is_never_exceeded(driver, tmp_path, size, count):
    spec = spec_of(tmp_path, max_size=size, max_file=count)
    writer = driver.log_open(spec)
    largest = 0
    for start in range(0, 20_000, 500):
        writer.write("stdout", numbered(start, start + 500), T)
        largest = max(largest, sum(sizes(tmp_path).values()))
    writer.close()
    assert largest <= size * count
    assert len(sizes(tmp_path)) == count
    assert largest > size * count * 0.6
    text = read(driver, spec)
    assert numbered(0, 20_000).endswith(text)
    assert len(text) > 0


def test_names_and_ages_of_the_files(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=100, max_file=3)
    for number in range(5):
        write(driver, spec, b"%d\n" % number)
    assert sorted(sizes(tmp_path)) == ["c1-json.log", "c1-json.log.1", "c1-json.log.2"]
    assert b'"2\\n"' in (tmp_path / "c1-json.log.2").read_bytes()
    assert read(driver, spec) == b"2\n3\n4\n"


def test_line_larger_than_a_file_is_kept_whole(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=100, max_file=2)
    write(driver, spec, b"a\n" + b"b" * 1000 + b"\nc\n")
    assert read(driver, spec) == b"b" * 1000 + b"\nc\n"


def test_no_limit(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=-1)
    write(driver, spec, numbered(0, 5000))
    assert list(sizes(tmp_path)) == ["c1-json.log"]


def test_rotation_that_was_killed_half_way_goes_on(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=100, max_file=4)
    for number in range(4):
        write(driver, spec, b"%d\n" % number)
    os.rename(tmp_path / "c1-json.log.2", tmp_path / "c1-json.log.3")  # 3 is lost, 2 is free
    write(driver, spec, b"4\n")
    assert read(driver, spec) == b"1\n2\n3\n4\n"


def test_file_that_was_removed_by_hand_is_made_again(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=1000, max_file=2)
    writer = driver.log_open(spec)
    writer.write("stdout", b"a\n", T)
    os.unlink(tmp_path / "c1-json.log")
    writer.write("stdout", numbered(0, 30), T)
    writer.close()
    assert numbered(0, 30).endswith(read(driver, spec))
    assert (tmp_path / "c1-json.log").exists()


def test_file_that_was_emptied_by_hand_holds_no_hole(driver, tmp_path):
    spec = spec_of(tmp_path)
    writer = driver.log_open(spec)
    writer.write("stdout", numbered(0, 100), T)
    os.truncate(tmp_path / "c1-json.log", 0)
    writer.write("stdout", b"after\n", T)
    writer.close()
    assert read(driver, spec) == b"after\n"
    assert b"\0" not in (tmp_path / "c1-json.log").read_bytes()


@pytest.mark.parametrize("torn", [b'{"log":"torn', b"~", b"~" * 200_000])
def test_torn_last_line_is_dropped_at_open(driver, tmp_path, torn):
    spec = spec_of(tmp_path)
    write(driver, spec, b"whole\n")
    with open(tmp_path / "c1-json.log", "ab") as file:
        file.write(torn)
    assert read(driver, spec) == b"whole\n"
    assert read(driver, spec, tail=1) == b"whole\n"
    write(driver, spec, b"next\n")
    assert read(driver, spec) == b"whole\nnext\n"
    assert torn not in (tmp_path / "c1-json.log").read_bytes()


def test_only_torn_bytes(driver, tmp_path):
    (tmp_path / "c1-json.log").write_bytes(b"\0" * 300_000)
    spec = spec_of(tmp_path)
    assert read(driver, spec, tail=3) == b""
    write(driver, spec, b"next\n")
    assert (tmp_path / "c1-json.log").stat().st_size < 100


@pytest.mark.parametrize("size", [1000, 300_000, MAX_LINE + 1000, 3 * MAX_LINE])
def test_garbage_in_the_middle_is_passed_over(driver, tmp_path, size):
    spec = spec_of(tmp_path, max_size=-1)
    write(driver, spec, b"before\n")
    with open(tmp_path / "c1-json.log", "ab") as file:
        file.write(b"\xff" * size + b"\n")
    write(driver, spec, b"after\n")
    assert read(driver, spec) == b"before\nafter\n"
    assert read(driver, spec, tail=2) == b"before\nafter\n"
    assert read(driver, spec, tail=1) == b"after\n"


@pytest.mark.row("R19")
def test_write_beyond_a_limit_leaves_whole_lines_and_works_again(driver, tmp_path):
    """RLIMIT_FSIZE makes write(2) end short and then fail, as a full disk does."""
    spec = spec_of(tmp_path, max_size=-1)
    writer = driver.log_open(spec)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write("stdout", numbered(0, 1000), T)
        kept = read(driver, spec)
        assert kept
        assert numbered(0, 1000).startswith(kept)
        assert (tmp_path / "c1-json.log").read_bytes().endswith(b'"}\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.write("stdout", b"again\n", T)
    writer.close()
    assert read(driver, spec) == kept + b"again\n"


@pytest.mark.root
@pytest.mark.row("R19", "R21")
def test_full_disk(driver, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        spec = LogSpec("c1", str(disk), {"max-size": "1m", "max-file": "2"})
        writer = driver.log_open(spec)
        with pytest.raises(OSError, match="No space left on device"):
            writer.write("stdout", numbered(0, 100_000), T)
        kept = read(driver, spec)
        assert numbered(0, 100_000).startswith(kept)
        with pytest.raises(OSError, match="No space left on device"):
            writer.write("stdout", numbered(0, 500), T)
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        writer.write("stdout", b"again\n", T)
        writer.close()
        assert read(driver, spec).endswith(b"again\n")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_rotation_without_room_for_a_new_file_is_tried_again(driver, tmp_path, monkeypatch):
    spec = spec_of(tmp_path, max_size=100, max_file=2)
    writer = driver.log_open(spec)
    writer.write("stdout", b"1\n", T)
    opening = LogPaths.open_for_append
    monkeypatch.setattr(LogPaths, "open_for_append", lambda self: os.open("/nonexistent/x", os.O_RDONLY))
    for _ in range(3):
        with pytest.raises(OSError, match="No such file"):
            writer.write("stdout", b"2\n", T)
    monkeypatch.setattr(LogPaths, "open_for_append", opening)
    writer.write("stdout", b"3\n", T)
    writer.close()
    assert read(driver, spec) == b"1\n3\n"


def test_write_after_close_is_an_error(driver, tmp_path):
    writer = driver.log_open(spec_of(tmp_path))
    writer.close()
    with pytest.raises(OSError, match="closed"):
        writer.write("stdout", b"a\n", T)


def test_log_is_not_opened_through_a_link(driver, tmp_path):
    (tmp_path / "c1-json.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        driver.log_open(spec_of(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_log_is_private(driver, tmp_path):
    driver.log_open(spec_of(tmp_path)).close()
    assert (tmp_path / "c1-json.log").stat().st_mode & 0o007 == 0


def test_tail_of_a_large_log_reads_its_end_only(driver, tmp_path, monkeypatch):
    spec = spec_of(tmp_path, max_size=-1)
    write(driver, spec, numbered(0, 100_000))
    read_bytes = []
    pread = os.pread

    def counting(fd, count, offset):
        data = pread(fd, count, offset)
        read_bytes.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    assert read(driver, spec, tail=100) == numbered(99_900, 100_000)
    assert sum(read_bytes) < 600_000


def test_since_skips_files_that_are_older(driver, tmp_path):
    spec = spec_of(tmp_path, max_size=100, max_file=5)
    for number in range(3):
        write(driver, spec, b"%d\n" % number)
    os.utime(tmp_path / "c1-json.log.2", ns=(0, T - 10**12))
    assert read(driver, spec, since_ns=T) == b"1\n2\n"


def test_follow_with_until_ends_by_itself(driver, tmp_path):
    spec = spec_of(tmp_path)
    write(driver, spec, b"a\n")
    query = LogQuery(follow=True, finished=lambda: False, until_ns=time.time_ns() + 200_000_000)
    start = time.monotonic()
    assert [entry.data for entry in driver.log_read(spec, query)] == [b"a\n"]
    assert 0.1 < time.monotonic() - start < 3


def test_follow_without_inotify(driver, tmp_path, monkeypatch):
    monkeypatch.setattr("barque_log_jsonfile.inotify._watch", lambda directory: -1)
    spec = spec_of(tmp_path)
    write(driver, spec, b"a\n")
    entries = driver.log_read(spec, LogQuery(follow=True, finished=lambda: False))
    assert next(entries).data == b"a\n"
    write(driver, spec, b"b\n")
    assert next(entries).data == b"b\n"
    entries.close()


@pytest.mark.parametrize("rotations", [1, 2, 3, 5])
@pytest.mark.parametrize("function", ["_open_if_there", "_identity_at"])
def test_files_are_found_in_order_while_a_writer_rotates(driver, tmp_path, monkeypatch, rotations, function):
    """Before each look at a file the writer rotates several times, as it does when the reader is preempted."""
    spec = spec_of(tmp_path, max_size=100, max_file=400)
    writer = driver.log_open(spec)
    numbers = iter(range(1000))
    left = [6]
    original = getattr(paths, function)

    def rotating(path):
        if left[0]:
            left[0] -= 1
            for _ in range(rotations):
                writer.write("stdout", b"%d\n" % next(numbers), T)
        return original(path)

    for _ in range(10):
        writer.write("stdout", b"%d\n" % next(numbers), T)
    monkeypatch.setattr(paths, function, rotating)
    found = [int(line) for line in read(driver, spec).split()]
    assert found == list(range(found[-1] + 1))
    left[0] = 30
    done = []
    query = LogQuery(follow=True, finished=lambda: bool(done) or (not left[0] and not done.append(1)))
    found = [int(entry.data) for entry in driver.log_read(spec, query)]
    writer.close()
    assert found == list(range(next(numbers)))
