"""`api_differences.toml`, and the page of the documentation that shows it. Run it to write the page."""

import tomllib
from pathlib import Path

LIST = Path(__file__).with_name("api_differences.toml")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api-differences.md"
_HEAD = """# Differences from dockerd

The tests hold one session of some 460 requests with Debian's dockerd 20.10 and with Barque, in version 1.41 of the API, and compare status,
headers and every value of every answer. What may differ is listed here and nowhere else; anything else fails the tests. Ids, times and
addresses are not compared. Requests and places are shell patterns; `length` is that of a list.

This page is written by `tests/e2e/api_differences.py`. What Barque does otherwise beyond answers is in
[API coverage](api.md#other-than-dockerd).

| request | place | why |
|---|---|---|
"""


def page():
    """The page's text."""
    rows = (
        f"| {_words(entry.get('step', '*'))} | {_words(entry['place'])} | {entry['reason']} |\n"
        for entry in tomllib.loads(LIST.read_text())["difference"]
    )
    return _HEAD + "".join(rows)


def _words(patterns):
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if patterns == ["*"]:
        return "any"
    return ", ".join(f"`{pattern.replace('[[]', '[').replace('|', '¦')}`" for pattern in patterns)


if __name__ == "__main__":
    PAGE.write_text(page())
