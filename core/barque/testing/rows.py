"""The acceptance score: which rows of the acceptance list have tests, and whether these passed.

A test names its rows with `@pytest.mark.row("R1")`. A row counts when at least one test of it ran and all of them
passed; a skipped test proves nothing, so a row with one is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["CHAPTERS", "Rows"]

# The weight of rows 1, 2, 3 …, a digit each (design/ACCEPTANCE.md).
_WEIGHTS: Final = {
    "R": "33333332222332222333222322233222233222221",
    "S": "333333333323322233332233322322233322333221",
}
CHAPTERS: Final = {
    letter: {f"{letter}{number}": int(weight) for number, weight in enumerate(weights, 1)}
    for letter, weights in _WEIGHTS.items()
}
_TITLES: Final = {"R": "reliability", "S": "security"}


@dataclass
class Rows:
    """Collects the outcome of tests (`passed`, `failed`, `skipped`) by row."""

    outcomes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: str, outcome: str) -> None:
        """One test's outcome."""
        self.outcomes.setdefault(row, []).append(outcome)

    def passed(self, row: str) -> bool:
        """Whether the row counts."""
        outcomes = self.outcomes.get(row, [])
        return bool(outcomes) and all(outcome == "passed" for outcome in outcomes)

    def report(self) -> Iterator[str]:
        """A line for each row, and the score of each chapter."""
        for letter, weights in CHAPTERS.items():
            for row, weight in weights.items():
                yield f"{row:<4}[{weight}] {self._verdict(row)}"
            reached = sum(weight for row, weight in weights.items() if self.passed(row))
            yield f"{_TITLES[letter]}: {reached} of {sum(weights.values())}"
        for row in sorted(self.outcomes.keys() - {row for weights in CHAPTERS.values() for row in weights}):
            yield f"{row}: there is no such row"

    def _verdict(self, row: str) -> str:
        outcomes = self.outcomes.get(row, [])
        if not outcomes:
            return "no test"
        counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in sorted(set(outcomes)))
        return f"{'passed' if self.passed(row) else 'FAILED'} ({counts})"
