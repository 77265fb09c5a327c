"""docs/reference/runtime-fields.md: what `native_fields` and `native_refusals` say, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from native_fields import REPOSITORY, keys, shown
from native_refusals import REFUSED, refused_word

DOCUMENT = REPOSITORY / "docs/reference/runtime-fields.md"
INTEGRATION = "tests/integration"
# Key -> (test of another file that shows it, machine it needs where that is not any Linux host with root).
ELSEWHERE: dict[str, tuple[str, str]] = {}
# Fields that not every host has the means for: what the tests need, or see refused by name without it.
NEEDS: dict[str, str] = {}
HEAD = """\
# Fields of `config.json`

What the native runtime does with each field of the OCI configuration for Linux, and with each word a field may hold.
*Honoured*: the test named shows the effect. *Refused*: a configuration that sets it gets this error before anything is
changed. Unknown fields are ignored, as the specification demands. A value of a wrong type, or a number out of range, is an
error that names the field.

This page is written by `tests/integration/test_native_fields.py` (with `UPDATE_DOCS=1`); do not edit it.

"""


def tests_of(key: str) -> list[str]:
    """The tests that show what `key` does."""
    return [*shown().get(key, ()), *([ELSEWHERE[key][0]] if key in ELSEWHERE else [])]


def render(rootfs: Path) -> str:
    """The page."""
    rows = [(key, *_verdict(key, rootfs)) for key in keys()]
    refused = sum(verdict == "refused" for _, verdict, _ in rows)
    lines = [HEAD, f"{len(rows)} rows: {len(rows) - refused} honoured, {refused} refused.\n"]
    chapter = ""
    for key, verdict, proof in rows:
        top = _chapter(key)
        if top != chapter:
            lines.append(f"\n## {top}\n\n| field | verdict | shown by, or the error |\n|---|---|---|\n")
            chapter = top
        lines.append(f"| `{key.replace('=', '` = `')}` | {verdict} | {proof} |\n")
    return "".join(lines)


def _chapter(key: str) -> str:
    parts = key.partition("=")[0].replace("[]", "").split(".")
    if parts[0] == "linux" and len(parts) > 1:
        return ".".join(parts[: 3 if parts[1] == "resources" and len(parts) > 3 else 2])
    return parts[0]


def _verdict(key: str, rootfs: Path) -> tuple[str, str]:
    needs = NEEDS.get(key, "")
    if tests := tests_of(key):
        where = ELSEWHERE[key][1] if key in ELSEWHERE else ""
        proof = ", ".join(f"`{node.removeprefix(INTEGRATION + '/')}`" for node in tests)
        return "honoured", proof + "".join(f"; {each}" for each in (where, needs) if each)
    text = refused_word(key, rootfs).replace("|", "\\|")
    return "refused", f"{text}{'; ' + needs if needs else ''}"


def unshown() -> Iterator[str]:
    """Rows that are refused."""
    yield from (key for key in keys() if key in REFUSED and not tests_of(key))
