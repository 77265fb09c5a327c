"""The bytes in the file: Docker's json-file format."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.log import LogEntry, LogQuery, LogSpec
from barque_log_jsonfile.decode import decode_line, decode_lines
from barque_log_jsonfile.encode import MAX_PIECE, LineEncoder, has_long_line, pieces
from barque_log_jsonfile.plugin import JsonFileLog

T = 1_704_067_200_000_000_001  # 2024-01-01T00:00:00.000000001Z


def written(tmp_path, *chunks, attributes=None, options=None):
    driver = JsonFileLog("json-file", JsonFileLog.Config())
    spec = LogSpec("c1", str(tmp_path), driver.log_validate(options or {}), attributes or {})
    writer = driver.log_open(spec)
    for stream, data in chunks:
        writer.write(stream, data, T)
    writer.close()
    return (tmp_path / "c1-json.log").read_bytes()


def test_the_bytes_are_dockers(tmp_path):
    assert written(tmp_path, ("stdout", b"line\n"), ("stderr", b"oops\n")) == (
        b'{"log":"line\\n","stream":"stdout","time":"2024-01-01T00:00:00.000000001Z"}\n'
        b'{"log":"oops\\n","stream":"stderr","time":"2024-01-01T00:00:00.000000001Z"}\n'
    )


def test_attributes_stand_between_stream_and_time(tmp_path):
    data = written(tmp_path, ("stdout", b"a\n"), attributes={"tag": "t", "é": "\ud800"})
    assert (
        data
        == (
            '{"log":"a\\n","stream":"stdout","attrs":{"tag":"t","é":"?"},"time":"2024-01-01T00:00:00.000000001Z"}\n'
        ).encode()
    )


def test_rest_at_close_has_no_newline(tmp_path):
    assert json.loads(written(tmp_path, ("stdout", b"no newline")))["log"] == "no newline"


def test_long_line_is_cut_at_16_kib(tmp_path):
    entries = [json.loads(line) for line in written(tmp_path, ("stdout", b"a" * 40_000 + b"\n")).splitlines()]
    assert [len(entry["log"]) for entry in entries] == [16384, 16384, 40_000 - 2 * 16384 + 1]
    assert [entry["log"].endswith("\n") for entry in entries] == [False, False, True]


def test_line_of_exactly_16_kib_has_its_newline_in_an_entry_of_its_own(tmp_path):
    entries = [json.loads(line) for line in written(tmp_path, ("stdout", b"a" * 16384 + b"\n")).splitlines()]
    assert [entry["log"] for entry in entries] == ["a" * 16384, "\n"]


def test_a_character_is_not_torn_between_pieces(tmp_path):
    text = "a" * 16383 + "☃" + "b" * 10 + "\n"
    entries = [json.loads(line) for line in written(tmp_path, ("stdout", text.encode())).splitlines()]
    assert [entry["log"] for entry in entries] == ["a" * 16383, "☃" + "b" * 10 + "\n"]


def test_invalid_utf8_becomes_the_replacement_character(tmp_path):
    assert json.loads(written(tmp_path, ("stdout", b"a\xff\xfeb\n")))["log"] == "a\ufffd\ufffdb\n"


def test_carriage_return_is_no_line_end(tmp_path):
    assert json.loads(written(tmp_path, ("stdout", b"10%\r20%\r\n")))["log"] == "10%\r20%\r\n"


@pytest.mark.parametrize("lines", [b"\n", b"a\n\nb\n", b"del\x7f\nnext\n", b"\\n\\\n", b'"\n'])
def test_every_line_is_a_json_object(lines):
    encoded = LineEncoder("stdout", {}).encode_lines(lines, T)
    assert [json.loads(line)["log"] for line in encoded.splitlines()] == [
        f"{line}\n" for line in lines.decode().split("\n")[:-1]
    ]


@given(st.lists(st.binary(max_size=60)), st.integers(0, 4_000_000_000_000_000_000))
def test_what_is_encoded_is_decoded(lines, time_ns):
    texts = [line.replace(b"\n", b"") + b"\n" for line in lines]
    encoded = LineEncoder("stderr", {}).encode_lines(b"".join(texts), time_ns) if texts else b""
    expected = [text.decode("utf-8", "replace").encode() for text in texts]
    assert list(decode_lines(encoded)) == [LogEntry("stderr", time_ns, data) for data in expected]


@given(st.binary(min_size=1, max_size=5 * MAX_PIECE))
def test_pieces_join_to_the_line(data):
    full, rest = pieces(data)
    assert b"".join(full) + rest == data
    assert all(MAX_PIECE - 3 <= len(piece) <= MAX_PIECE for piece in full)


@given(st.lists(st.integers(0, 2 * MAX_PIECE), min_size=1, max_size=6))
def test_long_lines_are_found(lengths):
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    assert has_long_line(data) == any(length >= MAX_PIECE for length in lengths)


@given(st.binary())
def test_garbage_is_passed_over(garbage):
    good = LineEncoder("stdout", {}).encode_lines(b"good\n", T)
    entries = list(decode_lines(good + garbage.replace(b"\n", b" ") + b"\n" + good))
    assert [entry.data for entry in entries] == [b"good\n", b"good\n"]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2024-01-01T00:00:00Z", 0),
        ("2024-01-01T00:00:00.5Z", 500_000_000),
        ("2024-01-01T00:00:00.12345678Z", 123_456_780),
    ],
)
def test_times_as_dockerd_writes_them(time, expected):
    line = f'{{"log":"x\\n","stream":"stdout","time":"{time}"}}'.encode()
    assert [entry.time_ns for entry in decode_lines(line + b"\n")] == [T - 1 + expected]


@pytest.mark.parametrize(
    "line",
    [
        b'{"log":"x\\n","stream":"stdout"}',
        b'{"log":"x\\n","stream":"other","time":"2024-01-01T00:00:00Z"}',
        b'{"log":"x\\n","stream":"stdout","time":"yesterday"}',
        b'{"log":"x\\n","stream":"stdout","time":"2024-13-41T00:00:00Z"}',
        b'{"log":"x\\n","stream":"stdout","time":"2024-01-01T00:00:00.Z"}' + b"}",
        b'{"log":1,"stream":"stdout","time":"2024-01-01T00:00:00Z"}',
        b'{"log":"torn',
        b"[]",
        b"[" * 100_000,
        b"null",
        b"\xff\xfe\x00",
    ],
)
def test_no_entry(line):
    assert list(decode_lines(line + b"\n")) == []
    assert decode_line(line) is None


def test_other_order_of_keys_and_attributes():
    line = b'{"time":"2024-01-01T00:00:00Z","attrs":{"tag":"t"},"stream":"stderr","log":"x\\n"}\n'
    (entry,) = decode_lines(line)
    assert (entry.stream, entry.data, dict(entry.attributes)) == ("stderr", b"x\n", {"tag": "t"})


def test_surrogates_in_a_file_do_not_stop_a_reader(tmp_path):
    (tmp_path / "c1-json.log").write_bytes(
        b'{"log":"\\ud800\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}\n'
    )
    driver = JsonFileLog("json-file", JsonFileLog.Config())
    (entry,) = driver.log_read(LogSpec("c1", str(tmp_path)), LogQuery())
    assert entry.data == b"?\n"
