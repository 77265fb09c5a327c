"""The local driver beyond the kit: rotation, compression, torn frames, floods, full disks, hostile files."""

from __future__ import annotations

import errno
import gzip
import os
import random
import resource
import time

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.log import LogQuery, LogSpec
from barque_log_local import frames, writer
from barque_log_local.files import LogFiles
from barque_log_local.plugin import LocalLog

T0 = 1_700_000_000_000_000_000


@pytest.fixture
def driver():
    return LocalLog("local", LocalLog.Config())


def _spec(driver, directory, attributes=None, **options):
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return LogSpec("c1", str(directory), driver.log_validate(named), attributes or {})


def _read(driver, spec, **query):
    return b"".join(entry.data for entry in driver.log_read(spec, LogQuery(**query)))


def _sizes(directory):
    return {path.name: path.stat().st_size for path in directory.iterdir() if path.suffix in (".log", ".gz")}


def _compressed(directory):
    """Wait until every file but the newest is compressed."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        names = sorted(_sizes(directory))
        if len([name for name in names if name.endswith(".log")]) == 1:
            return names
        time.sleep(0.02)
    raise AssertionError(names)


def test_rotation_keeps_its_bound_and_the_newest(driver, tmp_path):
    spec = _spec(driver, tmp_path, max_size="10k", max_file="3", compress="false")
    log = driver.log_open(spec)
    lines = [b"%07d\n" % number for number in range(20_000)]
    for start in range(0, len(lines), 300):
        log.write("stdout", b"".join(lines[start : start + 300]), T0)
        assert len(_sizes(tmp_path)) <= 3
        assert max(_sizes(tmp_path).values()) <= 10_000
    log.close()
    kept = _read(driver, spec)
    assert 20_000 < len(kept) <= 30_000
    assert b"".join(lines).endswith(kept)


def test_old_files_are_compressed_and_still_read(driver, tmp_path):
    spec = _spec(driver, tmp_path, max_size="20k", max_file="50")
    log = driver.log_open(spec)
    lines = [b"a line with some text in it, number %07d\n" % number for number in range(5000)]
    for start in range(0, len(lines), 100):
        log.write("stdout", b"".join(lines[start : start + 100]), T0)
    log.close()
    names = _compressed(tmp_path)
    assert len(names) > 5
    assert _read(driver, spec) == b"".join(lines)
    assert _read(driver, spec, tail=4000) == b"".join(lines[-4000:])
    assert sum(_sizes(tmp_path).values()) < 5000 * 46 / 4
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".unfinished")]
    driver.log_remove(spec)
    assert os.listdir(tmp_path) == []


def test_a_follower_goes_from_compressed_files_to_the_present(driver, tmp_path):
    spec = _spec(driver, tmp_path, max_size="20k", max_file="50")
    log = driver.log_open(spec)
    for number in range(100):
        log.write("stdout", b"%01000d\n" % number, T0)
    _compressed(tmp_path)
    finished = []
    query = LogQuery(follow=True, finished=lambda: bool(finished))
    seen = []
    for entry in driver.log_read(spec, query):
        seen.append(int(entry.data))
        if len(seen) == 100:
            log.write("stdout", b"100\n", T0)
            log.close()
            finished.append(True)
    assert seen == list(range(101))


@pytest.mark.row("R22")
def test_a_flood_stays_within_its_bounds(driver, tmp_path):
    """200 MB through a rotation of 1m x 2, as the shim writes them."""
    spec = _spec(driver, tmp_path, max_size="1m", max_file="2", compress="false")
    log = driver.log_open(spec)
    chunk = (b"x" * 99 + b"\n") * 650
    before, most, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, time.process_time()
    for number in range(200_000_000 // len(chunk)):
        log.write("stdout", chunk, T0 + number)
        if number % 100 == 0:
            most = max(most, sum(_sizes(tmp_path).values()))
    log.close()
    assert most <= 2_100_000
    assert sum(_sizes(tmp_path).values()) <= 2_100_000
    assert time.process_time() - begun < 25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert _read(driver, spec).endswith(chunk)


@pytest.mark.row("R4")
def test_a_torn_frame_is_cut_off_at_any_place(driver, tmp_path):
    spec = _spec(driver, tmp_path)
    log = driver.log_open(spec)
    log.write("stdout", b"first\n", T0)
    log.write("stderr", b"second\nthird\n", T0)
    log.close()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        log = driver.log_open(spec)
        log.write("stdout", b"next\n", T0)
        log.close()
        assert _read(driver, spec) in (b"next\n", b"first\nnext\n")


@pytest.mark.row("R19")
def test_a_full_disk_loses_frames_and_nothing_else(driver, tmp_path, monkeypatch):
    spec = _spec(driver, tmp_path)
    log = driver.log_open(spec)
    log.write("stdout", b"first\n", T0)
    real = os.write

    def full(fd, data):
        real(fd, bytes(data[:7]))
        monkeypatch.setattr(writer.os, "write", refuse)
        return 7

    def refuse(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        log.write("stdout", b"lost\n", T0)
    monkeypatch.setattr(writer.os, "write", real)
    log.write("stdout", b"again\n", T0)
    log.close()
    assert _read(driver, spec) == b"first\nagain\n"


@pytest.mark.row("R41")
def test_hostile_files_do_no_harm(driver, tmp_path):
    generator = random.Random(3)
    spec = _spec(driver, tmp_path)
    good = b"".join(frames.encode(1, T0, b"line %d\n" % number) for number in range(50))
    for number in range(150):
        data = bytearray(good)
        for _ in range(generator.randrange(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        (tmp_path / "1.log").write_bytes(bytes(data))
        (tmp_path / "2.log.gz").write_bytes(gzip.compress(good)[: generator.randrange(60)])
        list(driver.log_read(spec, LogQuery(tail=number)))
    (tmp_path / "2.log.gz").unlink()
    (tmp_path / "1.log").write_bytes(frames.encode(0, T0, b"[1]") + frames.encode(1, T0, b"x\n"))
    (entry,) = driver.log_read(spec, LogQuery())
    assert (entry.data, dict(entry.attributes)) == (b"x\n", {})


def test_attributes_are_those_of_the_start_that_wrote(driver, tmp_path):
    for attributes in ({"color": "red"}, {}, {"tag": "ü"}):
        log = driver.log_open(_spec(driver, tmp_path, attributes))
        log.write("stdout", b"x\n", T0)
        log.close()
    found = [dict(entry.attributes) for entry in driver.log_read(_spec(driver, tmp_path), LogQuery(tail=2))]
    assert found == [{}, {"tag": "ü"}]


def test_a_line_longer_than_a_file(driver, tmp_path):
    spec = _spec(driver, tmp_path, max_size="1k", max_file="1000", compress="false")
    log = driver.log_open(spec)
    log.write("stdout", b"y" * 5000 + b"\n" + b"z\n" * 1000, T0)
    log.close()
    assert _read(driver, spec) == b"y" * 5000 + b"\n" + b"z\n" * 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-size": "x"}, "max-size must be a positive number"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"compress": "maybe"}, "invalid value for compress"),
        ({"mode": "x"}, "logging mode not supported: x"),
        ({"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"),
        ({"mode": "non-blocking", "max-buffer-size": "-1"}, "max-buffer-size must be a positive number"),
        ({"labels-regex": "("}, "invalid value for labels-regex"),
    ],
)
def test_options_that_are_refused(driver, options, message):
    with pytest.raises(InvalidArgument, match=message):
        driver.log_validate(options)


def test_defaults_are_dockers(driver):
    assert driver.log_validate({}) == {"max-size": "20m", "max-file": "5", "compress": "true"}
    assert driver.log_validate({"mode": "non-blocking", "max-buffer-size": "4m"})["mode"] == "non-blocking"


def test_only_files_of_the_log_are_removed(driver, tmp_path):
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "1.log").write_text("")
    (tmp_path / "2.log.gz.unfinished").write_text("")
    LogFiles(str(tmp_path)).remove()
    assert os.listdir(tmp_path) == ["other.txt"]
