"""Sizes, durations, moments, tables, names: the small things that make output look like Docker's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli.credentials import registry_auth
from barque.cli.demux import Demultiplexer
from barque.cli.documents import indent
from barque.cli.errors import CliError, DaemonUnavailable
from barque.cli.pulling import canonical
from barque.cli.quoting import go_quote
from barque.cli.references import complaint, familiar, registry, split
from barque.cli.table import align
from barque.cli.terminal import DetachKeys
from barque.cli.times import api_time, event_time, go_time, parse_rfc3339
from barque.cli.units import cpus, duration_ns, human_duration, human_size, memory, memory_or_unlimited


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (13257, "13.3kB"),
        (1984000, "1.98MB"),
        (1.5e9, "1.5GB"),
        (10**27, "1e+03YB"),
    ],
)
def test_human_size(size: float, shown: str) -> None:
    assert human_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "Less than a second"), (0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"), (5400, "2 hours"),
        (47 * 3600, "47 hours"), (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"), (60 * 86400, "2 months"), (729 * 86400, "24 months"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_human_duration(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_memory() -> None:
    sizes = {
        "0": 0,
        "42b": 42,
        "1k": 1024,
        "1KB": 1024,
        "1KiB": 1024,
        "1.5g": 1610612736,
        "2 m": 2097152,
        "1T": 2**40,
        "1p": 2**50,
    }
    assert {text: memory(text) for text in sizes} == sizes
    assert memory_or_unlimited("-1") == -1
    for wrong in ("", "abc", "-1", "1x", "1ib", "1 2", "0x10", "1e3"):
        with pytest.raises(ValueError, match="invalid s"):
            memory(wrong)


def test_cpus() -> None:
    assert (cpus("1.5"), cpus("0.000000001"), cpus("3/2"), cpus("2")) == (
        1_500_000_000,
        1,
        1_500_000_000,
        2_000_000_000,
    )
    with pytest.raises(ValueError, match="too precise"):
        cpus("0.0000000001")
    for wrong in ("", "x", "1/0", "nan"):
        with pytest.raises(ValueError, match=r"rational number|too precise"):
            cpus(wrong)


def test_durations() -> None:
    assert duration_ns("1h30m") == 5_400_000_000_000
    assert duration_ns("-1.5s") == -1_500_000_000
    assert duration_ns("2us3ns") == 2003
    assert duration_ns("0") == 0
    for wrong in ("", "10", "1x", "s", "1h 2m", "."):
        with pytest.raises(ValueError, match=r"invalid duration|missing unit"):
            duration_ns(wrong)


def test_moments() -> None:
    now = 1_000_000_000_000_000_000
    assert api_time("10m", now) == "999999400.000000000"
    assert api_time("1790000000.5") == "1790000000.5"
    assert api_time("2001-09-09T01:46:40.25Z") == "1000000000.250000000"
    assert api_time("2001-09-09T03:46:40+02:00") == "1000000000.000000000"
    assert parse_rfc3339("1969-12-31T23:59:59.5Z") == -500_000_000
    assert api_time("") == ""
    for wrong in ("yesterday", "2001-13-01", "2001-09-09T25:00:00Z", "2001-09-09 01:46"):
        with pytest.raises(CliError, match="failed to parse"):
            api_time(wrong)
    assert go_time(now) == "2001-09-09 01:46:40 +0000 UTC"
    assert go_time(now + 120_000_000, "+01:00") == "2001-09-09 02:46:40.12 +0100 +0100"


def test_event_time_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    for zone, shown in (
        ("UTC", "2001-09-09T01:46:40.000000007Z"),
        ("XYZ-5:30", "2001-09-09T07:16:40.000000007+05:30"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            assert event_time(1_000_000_000_000_000_007) == shown
    time.tzset()


def test_table() -> None:
    assert align("A\tB\tC\n1\t22222222222\tx") == "A         B             C\n1         22222222222   x"
    assert align("größe\tx") == "größe     x"
    assert align("漢字漢字漢字\tx\na\ty") == "漢字漢字漢字   x\na              y"
    assert align("A\tB\nshort\nlonger than ten\tB") == "A         B\nshort\nlonger than ten   B"
    assert align("") == ""


@given(
    st.lists(st.lists(st.text(alphabet="ab ", max_size=15), min_size=3, max_size=3), min_size=1, max_size=8)
)
def test_columns_line_up(rows: list[list[str]]) -> None:
    lines = align("\n".join("\t".join(cells) for cells in rows)).split("\n")
    first = max(10, *(len(cells[0]) + 3 for cells in rows))
    second = first + max(10, *(len(cells[1]) + 3 for cells in rows))
    assert [line[second:] for line in lines] == [cells[2] for cells in rows]
    assert [line[first:second].rstrip() for line in lines] == [cells[1].rstrip() for cells in rows]


@pytest.mark.parametrize(
    ("reference", "parts", "name"),
    [
        ("busybox", ("busybox", "", ""), "docker.io/library/busybox:latest"),
        ("team/app:1.2", ("team/app", "1.2", ""), "docker.io/team/app:1.2"),
        ("localhost/x", ("localhost/x", "", ""), "localhost/x:latest"),
        ("reg.example.com:5000/a/b:c", ("reg.example.com:5000/a/b", "c", ""), "reg.example.com:5000/a/b:c"),
        ("a@sha256:" + "0" * 64, ("a", "", "sha256:" + "0" * 64), "docker.io/library/a@sha256:" + "0" * 64),
        ("a:b@sha256:" + "0" * 64, ("a", "b", "sha256:" + "0" * 64), "docker.io/library/a:b@sha256:" + "0" * 64),
        ("deb:bash,coreutils@bookworm", None, "deb:bash,coreutils@bookworm"),
        ("deb:hello", None, "deb:hello"),
        ("oci:/path/to", None, "oci:/path/to"),
        ("docker-archive:x.tar", None, "docker-archive:x.tar"),
        ("Foo", None, "Foo"),
        ("a:", None, "a:"),
        ("a@sha256:short", None, "a@sha256:short"),
    ],
)  # fmt: skip
def test_references(reference: str, parts: tuple[str, str, str] | None, name: str) -> None:
    assert split(reference) == parts
    assert canonical(reference) == name
    assert registry(parts[0] if parts else "x") in ("docker.io", "localhost", "reg.example.com:5000")


def test_familiar_names_and_complaints() -> None:
    assert (familiar("a"), familiar("a:b"), familiar("deb:x")) == ("a:latest", "a:b", "deb:x")
    assert complaint("Foo") == "invalid reference format: repository name (library/Foo) must be lowercase"
    assert complaint("a b") == "invalid reference format"


def test_quoting() -> None:
    assert go_quote('a "b" \\ ü\n\t\x1b[31m\x7f\u200b\udcff') == r'"a \"b\" \\ ü\n\t\x1b[31m\x7f\u200b\xff"'


def test_indenting_keeps_numbers_and_escapes() -> None:
    text = '{"a":1.50,"b":"\\u003c{[,:]}\\"","c":[],"d":{ },"e":[1,[true,null]]}'
    assert indent(text) == (
        '{\n    "a": 1.50,\n    "b": "\\u003c{[,:]}\\"",\n    "c": [],\n    "d": {},\n'
        '    "e": [\n        1,\n        [\n            true,\n            null\n        ]\n    ]\n}'
    )


@given(st.binary(max_size=40).map(lambda data: data.replace(b"\x10\x11", b"")), st.integers(1, 7))
def test_detach_keys_pass_everything_else(typed: bytes, size: int) -> None:
    keys = DetachKeys()
    sent, detached = b"", False
    for start in range(0, len(typed), size):
        piece, detached = keys.feed(typed[start : start + size])
        sent += piece
        if detached:
            break
    if b"\x10\x11" not in typed:
        assert not detached
        assert typed.startswith(sent)
        assert typed.removeprefix(sent) in (b"", b"\x10")


def test_detach_keys() -> None:
    assert DetachKeys("ctrl-a,x").feed(b"1\x01x2") == (b"1", True)
    assert DetachKeys("a,a,b").feed(b"aaab") == (b"a", True)
    assert DetachKeys("ctrl-@").feed(b"\x00") == (b"", True)
    for wrong in ("ctrl-", "ctrl-1", "ab", "a,,b"):
        with pytest.raises(CliError, match="invalid detach keys"):
            DetachKeys(wrong)


def test_errors_in_a_multiplexed_stream() -> None:
    with pytest.raises(DaemonUnavailable, match="log driver is gone"):
        Demultiplexer(1, 2).feed(b"\x03\0\0\0\0\0\0\x12log driver is gone")
    with pytest.raises(DaemonUnavailable, match="Unrecognized input header: 120"):
        Demultiplexer(1, 2).feed(b"x" * 8)


def test_stored_credentials(tmp_path: Path) -> None:
    import base64
    import json

    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert registry_auth("a", environ) == {}
    auth = base64.b64encode(b"me:se:cret").decode()
    auths = {
        "https://index.docker.io/v1/": {"auth": auth},
        "reg.example.com": {"identitytoken": "tok"},
        "empty": {},
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))

    def stored(name: str) -> object:
        header = registry_auth(name, environ)
        return json.loads(base64.urlsafe_b64decode(header["X-Registry-Auth"])) if header else None

    assert stored("busybox") == {
        "serveraddress": "https://index.docker.io/v1/",
        "username": "me",
        "password": "se:cret",
    }
    assert stored("reg.example.com/x") == {"serveraddress": "reg.example.com", "identitytoken": "tok"}
    # Credentials of one registry never go to another.
    assert stored("evil.example.com/reg.example.com/x") is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CliError, match="error parsing config file"):
        registry_auth("a", environ)
