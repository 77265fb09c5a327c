"""What the machine reports over its second serial port: one line of JSON, then pytest's JUnit document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Answer:
    """`status` is pytest's exit status; `boot` and `seconds` are how long the boot and the tests took."""

    status: int
    kernel: str
    boot: float
    seconds: float
    passed: int
    failed: int
    skipped: int

    @property
    def ran(self) -> int:
        """Tests that were not skipped."""
        return self.passed + self.failed

    def describe(self) -> str:
        """One line for people."""
        return (
            f"Linux {self.kernel}: {self.ran} tests ran ({self.passed} passed, {self.failed} failed), "
            f"{self.skipped} skipped; boot {self.boot:.1f} s, tests {self.seconds:.0f} s"
        )


def parse(text: str) -> Answer:
    """Errors: ValueError when the machine ended before it had reported all."""
    head, _, document = text.partition("\n")
    if not document.rstrip().endswith("</testsuites>"):
        raise ValueError("the machine ended before it had reported its tests")
    facts = json.loads(head)
    count = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.fromstring(document).iter("testsuite"):
        for name in count:
            count[name] += int(suite.get(name, 0))
    failed = count["failures"] + count["errors"]
    return Answer(
        status=facts["status"],
        kernel=facts["kernel"],
        boot=facts["boot"],
        seconds=facts["seconds"],
        passed=count["tests"] - failed - count["skipped"],
        failed=failed,
        skipped=count["skipped"],
    )
