"""Runs a conformance kit against an installed driver, in a child pytest.

    python -m barque.testing.verify run runtime:runc --set path=crun --json
    python -m barque.testing.verify compare --profile default runtime:native runtime:runc runtime:crun

The second prints a table test x driver; with `--output FILE` it writes a page of the reference. `barque plugin verify`
is the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from barque.spi.common import Probe
from barque.spi.errors import BarqueError, FailedPrecondition, Internal, InvalidArgument, PermissionDenied

__all__ = ["Outcome", "Report", "verify"]

_TEST_SECONDS = 120
_MOST_OUTPUT = 3000


@dataclass(frozen=True)
class Outcome:
    """A test of the kit: `result` is passed, skipped or failed; `reason` is one line, empty when it passed."""

    test: str
    result: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The results of one driver, in the order of the kit, and the facts that its probe tells."""

    driver: str
    facts: dict[str, str]
    outcomes: tuple[Outcome, ...]

    def count(self, result: str) -> int:
        """How many tests have that result."""
        return sum(outcome.result == result for outcome in self.outcomes)


Progress = Callable[[int, int], None]
"""Told how many tests have ended, of how many."""


def verify(subject: Any, progress: Progress = lambda _done, _all: None) -> Report:
    """Run the kit for a `barque.testing.verify_kits.Subject`.

    Errors: FailedPrecondition when the driver does not work on this host, PermissionDenied without root, Internal when pytest itself fails.
    """
    if subject.needs_root and os.geteuid() != 0:
        raise PermissionDenied(f"the {subject.kind} kit needs root", hint="run it with sudo")
    with tempfile.TemporaryDirectory(prefix="barque-verify-") as directory:
        probe = _probe(subject, Path(directory))
        _write_module(Path(directory), subject)
        outcomes = _run_pytest(Path(directory), progress)
    return Report(f"{subject.kind}:{subject.label}", dict(probe.facts), outcomes)


def _probe(subject: Any, root: Path) -> Probe:
    """What the driver tells of this host. FailedPrecondition when it cannot work here, for then there is nothing to verify."""
    probe: Probe = getattr(subject.make(root), f"{subject.kind}_probe")()
    for problem in probe.problems:
        if problem.fatal:
            raise FailedPrecondition(
                f"{subject.kind}:{subject.label} does not work on this host: {problem.what}",
                hint=problem.remedy,
            )
    return probe


def _write_module(directory: Path, subject: Any) -> None:
    """What pytest collects; its configuration is empty, whatever lies above the directory."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_driver.py").write_text(
        "from barque.testing.verify_kits import Subject, kit_class\n\n"
        f"TestDriver = kit_class(Subject(**{asdict(subject)!r}))\n"
    )


def _run_pytest(directory: Path, progress: Progress) -> tuple[Outcome, ...]:
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "--rootdir",
        str(directory),
        "-c",
        f"{directory}/pytest.ini",
    ]
    command += ["-p", "barque.testing.pytest_plugin", "-p", "barque.testing.verify_recorder"]
    command += ["-p", "no:cacheprovider", "--verify-fd", str(writing), str(directory)]
    if find_spec("pytest_timeout"):
        command += ["--timeout", str(_TEST_SECONDS)]
    with open(directory / "output", "w+b") as output, open(reading, encoding="utf-8") as rows:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writing], cwd=directory
        )
        os.close(writing)
        try:
            outcomes = _collect(rows, progress)
        finally:
            status = child.wait()
        if status not in (0, 1) or not outcomes:
            output.seek(0)
            text = output.read().decode("utf-8", "replace").strip()[-_MOST_OUTPUT:]
            raise Internal(f"pytest ended with status {status}: {text}")
    return outcomes


def _collect(rows: Iterator[str], progress: Progress) -> tuple[Outcome, ...]:
    """One outcome a test: a failure in its set-up or clean-up outweighs what its call gave."""
    found: dict[str, Outcome] = {}
    expected = 0
    for line in rows:
        row = json.loads(line)
        if "collected" in row:
            expected = row["collected"]
        elif row["result"] == "failed" or row["test"] not in found:
            found[row["test"]] = Outcome(row["test"], row["result"], row["reason"], row["seconds"])
        progress(len(found), expected)
    return tuple(found.values())


def _require_pytest() -> None:
    if find_spec("pytest") is None:
        raise FailedPrecondition(
            "the conformance kits need pytest, which is not installed",
            hint="pip install 'barque[dev]', or pip install pytest",
        )


def _show_progress(done: int, expected: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done < expected else "\r\033[K"
        print(f"{done}/{expected} tests", end=end, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m barque.testing.verify", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "compare"):
        command = commands.add_parser(name)
        command.add_argument("targets", nargs="+" if name == "compare" else 1, metavar="KIND:NAME")
        command.add_argument("--profile", default="", help="take drivers and options from this profile")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the driver"
        )
        command.add_argument("--reference", default="", help="for kind image: a small image")
        command.add_argument("--json", action="store_true", help="print JSON")
    commands.choices["compare"].add_argument(
        "--output", type=Path, help="write a page of documentation there"
    )
    return parser


def _reports(arguments: argparse.Namespace) -> list[Report]:
    _require_pytest()
    from barque.testing.verify_kits import option_value, subject_named

    options = {}
    for text in arguments.set:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise InvalidArgument(f"{text!r} is no option of a driver", hint="say --set KEY=VALUE")
        options[name] = option_value(value)
    subjects = [
        subject_named(target, options, profile=arguments.profile, reference=arguments.reference)
        for target in arguments.targets
    ]
    return [verify(subject, _show_progress) for subject in subjects]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing failed, 1 when a test did, 2 when the kit could not be run."""
    wanted = _parser().parse_args(arguments)
    try:
        reports = _reports(wanted)
    except BarqueError as error:
        if not wanted.json:
            print(error, file=sys.stderr)
        else:
            print(json.dumps({"error": error.to_wire()}))
        return 2
    except KeyboardInterrupt:
        return 130
    if wanted.json:
        documents = [asdict(report) for report in reports]
        print(json.dumps(documents if wanted.command == "compare" else documents[0]))
    else:
        from barque.testing.verify_document import page, table

        if output := getattr(wanted, "output", None):
            output.write_text(page(reports), encoding="utf-8")
        else:
            print(table(reports), end="")
    return 1 if any(report.count("failed") for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
