"""The results of several drivers side by side, as a table and as a page of the reference."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from barque.testing import procfs
from barque.testing.verify import Outcome, Report

__all__ = ["page", "table"]


def table(reports: Sequence[Report]) -> str:
    """A Markdown table: a row a test (all its parameters together), a column a driver, totals below."""
    notes = _Notes()
    columns = [_by_test(report) for report in reports]
    tests = list(dict.fromkeys(test for column in columns for test in column))
    lines = [_row("test", *(report.driver.partition(":")[2] for report in reports))]
    lines.append(_row(*("---" for _ in range(len(reports) + 1))))
    for test in tests:
        cells = [_cell(column.get(test, []), notes) for column in columns]
        cases = max(len(column.get(test, [])) for column in columns)
        title = test.removeprefix("test_").replace("_", " ")
        lines.append(_row(f"{title} ({cases} cases)" if cases > 1 else title, *cells))
    lines += [
        _row(f"**{result}**", *(f"**{report.count(result)}**" for report in reports))
        for result in ("passed", "skipped", "failed")
    ]
    return "\n".join([*lines, "", *notes.lines(), ""])


def page(reports: Sequence[Report]) -> str:
    """The table with what it was measured on."""
    kind = reports[0].driver.partition(":")[0]
    facts = [f"- {report.driver}: {_versions(report.facts)}" for report in reports]
    return "\n".join(
        [
            f"# The {kind} conformance kit: results",
            "",
            "Made by `make conformance`, which runs `python -m barque.testing.verify compare`; do not edit. What the kit",
            "asks of a driver is in `barque.testing`; `barque plugin verify` runs it against any other.",
            "",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- kernel: Linux {platform.release()} {platform.machine()}, cgroups {_cgroups()}",
            *facts,
            "",
            table(reports),
        ]
    )


class _Notes:
    """Reasons, numbered as they come; equal ones once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, reason: str) -> int:
        return self._numbers.setdefault(reason, len(self._numbers) + 1)

    def lines(self) -> list[str]:
        return [f"{number}. {reason}" for reason, number in self._numbers.items()]


def _by_test(report: Report) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        found.setdefault(outcome.test.partition("[")[0], []).append(outcome)
    return found


def _cell(outcomes: list[Outcome], notes: _Notes) -> str:
    """The worst result, with the number of the note that tells why."""
    for result in ("failed", "skipped"):
        reasons = dict.fromkeys(_one_line(outcome.reason) for outcome in outcomes if outcome.result == result)
        if reasons:
            numbers = ", ".join(str(notes.number(reason)) for reason in reasons)
            return f"**{result}** [{numbers}]" if result == "failed" else f"{result} [{numbers}]"
    return "passed" if outcomes else "-"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _versions(facts: dict[str, str]) -> str:
    return (
        facts.get("version", "")
        or ", ".join(f"{name} {value}" for name, value in facts.items())
        or "this version"
    )


def _cgroups() -> str:
    kinds = {mount.kind for mount in procfs.mounts() if mount.kind.startswith("cgroup")}
    return {frozenset({"cgroup"}): "v1", frozenset({"cgroup2"}): "v2"}.get(
        frozenset(kinds), "v1 and v2 (hybrid)"
    )
