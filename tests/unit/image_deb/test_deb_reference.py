from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque_image_deb.reference import parse


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("bash", "bash"),
        ("coreutils,bash", "bash,coreutils"),
        ("bash,bash, coreutils", "bash,coreutils"),
        ("bash@trixie", "bash@trixie"),
        ("libstdc++6,g++@bookworm", "g++,libstdc++6@bookworm"),
        ("python3.11", "python3.11"),
    ],
)
def test_canonical_form(text, canonical):
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    "text",
    ["", ",", "bash,", "@bookworm", "bash@", "Bash", "-bash", "bash-", "bash.", "a", "bash/x", "bash=1", "b*sh", "../x", "bash\n",
     "bash@../x", "bash@a/b", "bash@-o", "bash@x y", "-oDebug=1", "?name(x)", "~i", "./x.deb", "bash@a@b", "ba sh", "é",
     ",".join(f"p{number}" for number in range(300))],
)  # fmt: skip
def test_malformed_reference_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        parse(text)


@pytest.mark.row("R41")
@given(st.text(max_size=60))
def test_no_text_becomes_an_option_of_apt(text):
    try:
        found = parse(text)
    except InvalidArgument:
        return
    for word in (*found.packages, found.suite):
        assert not word.startswith(("-", ".", "/", "?", "~"))
        assert not word.endswith(("-",)) or word == found.suite
