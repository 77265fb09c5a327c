from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque_image_registry.challenge import choose, parse


def test_bearer_with_quoted_parameters():
    header = r'Bearer realm="https://auth.example/token",service="a \"b\", c",scope="repository:x:pull", Error=invalid'
    (challenge,) = parse([header])
    assert challenge.scheme == "bearer"
    assert challenge.parameters == {
        "realm": "https://auth.example/token", "service": 'a "b", c', "scope": "repository:x:pull", "error": "invalid",
    }  # fmt: skip


def test_several_challenges_in_one_header_and_in_several():
    found = parse(['Negotiate, Basic realm="x", Bearer realm="https://a"', 'Digest realm="y"'])
    assert [challenge.scheme for challenge in found] == ["negotiate", "basic", "bearer", "digest"]


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        (['Basic realm="x"', 'Bearer realm="https://a"'], "bearer"),
        (['Basic realm="x"'], "basic"),
        (["Bearer"], None),
        (["Negotiate"], None),
        ([], None),
        (['Bearer realm="unfinished'], None),
    ],
)
def test_choice(headers, scheme):
    chosen = choose(parse(headers))
    assert (chosen.scheme if chosen else None) == scheme


@pytest.mark.row("R41")
@given(st.text(max_size=300))
def test_any_header_is_read(header):
    choose(parse([header]))


def test_long_header_is_read_in_no_time():
    parse(['Bearer realm="' + "\\" * 100_000, "a=" * 100_000, "," * 100_000])
