"""Regular expressions of users: Go's syntax, never a long search."""

import subprocess
import sys
import time

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.expressions import expression


@pytest.mark.parametrize(
    ("text", "subject", "found"),
    [
        ("web", "my-web-1", True),
        ("web", "we-b", False),
        ("^web$", "web", True),
        ("^web$", "web1", False),
        (r"w\pLb", "web", True),  # Go's classes
        ("(?i)WEB", "web", True),
        ("", "anything", True),
        ("a.c", "abc", True),
    ],
)
def test_what_is_found(text, subject, found):
    assert expression(text)(subject) is found


@pytest.mark.parametrize(
    "text", ["(a", "a**", r"\1", "(?=a)", "[", "x" * 5000 + "*", "(((((a{1000}){1000}){1000}){1000}){1000})"]
)
def test_what_is_no_expression(text):
    with pytest.raises(InvalidArgument, match="error parsing regexp"):
        expression(text)


@pytest.mark.row("R41")
@pytest.mark.parametrize("text", ["(a+)+$", "([a-z]+)*!", "(a|aa)+$", "(.*)(.*)(.*)(.*)x"])
def test_no_search_takes_long(text):
    before = time.process_time()
    assert not expression(text)("a" * 20_000 + "-1")
    assert time.process_time() - before < 1


def test_plain_words_import_nothing():
    program = "import sys; from barque.spi.expressions import expression; expression('web')('web'); print('re2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
