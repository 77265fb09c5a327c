"""The test suite in a virtual machine that has cgroup v2 alone: `make test-vm`.

    PYTHONPATH=tools python -m vm [--quick | --systemd] [--at-least N] [--limit SECONDS] [pytest's arguments]

The exit status is pytest's; 1 also when fewer than N tests ran, 2 when the machine did not come to an end.
"""

from __future__ import annotations

import argparse
import glob
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from vm import answer, base, images, machine

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Selection:
    """Which tests to run, and how many must not be lost from them unnoticed."""

    patterns: tuple[str, ...]
    at_least: int


NATIVE = "tests/integration/test_native_"
EVERYTHING = Selection(
    (
        "tests/conformance/test_runtime*.py",
        f"{NATIVE}*.py",
        "tests/integration/test_overlay_quota.py",
        "tests/unit/runtime_native/test_*.py",
        "tests/vm",
    ),
    1500,
)
QUICK = Selection((f"{NATIVE}resources.py", f"{NATIVE}stats.py", "tests/vm"), 60)
SYSTEMD = Selection((f"{NATIVE}systemd*.py", "tests/vm"), 20)


def main() -> int:
    """Run it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of everybody's clean-up
    begin = time.monotonic()
    parser = argparse.ArgumentParser(prog="vm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--systemd", action="store_true", help="systemd is the machine's first process")
    parser.add_argument("--quick", action="store_true", help="only the tests of cgroup limits")
    parser.add_argument("--at-least", type=int, help="fail when fewer tests ran")
    parser.add_argument("--limit", type=float, default=7200, help="end the machine after so many seconds")
    options, words = parser.parse_known_args()
    if sys.version_info[:2] != base.PYTHON:
        raise SystemExit(
            f"vm: the machine is Debian {base.SUITE}: it needs an environment of Python {base.PYTHON}"
        )
    chosen = SYSTEMD if options.systemd else QUICK if options.quick else EVERYTHING
    arguments = words if names_tests(CHECKOUT, words) else [*paths(CHECKOUT, chosen), *words]
    at_least = options.at_least or (1 if words else chosen.at_least)
    cache = base.cache_directory()
    system = base.prepare(cache)
    environment = _environment(cache)
    with tempfile.TemporaryDirectory(prefix="barque-vm-") as name:
        checkout, report = Path(name, "checkout.img"), Path(name, "answer")
        images.make_checkout(CHECKOUT, checkout, sys.executable, arguments)
        variables = {"CHECKOUT": str(CHECKOUT), "INIT": "systemd" if options.systemd else "plain"}
        print(f"vm: booting, {time.monotonic() - begin:.1f} s after the start", flush=True)
        try:
            machine.run(
                system.kernel, [system.image, checkout, environment], variables, report, options.limit
            )
            found = answer.parse(report.read_text())
        except (machine.Stuck, ValueError) as error:
            print(f"vm: {error}", file=sys.stderr)
            return 2
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"vm: {found.describe()}, all {time.monotonic() - begin:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s"
    )
    if found.ran < at_least:
        print(f"vm: at least {at_least} tests must run", file=sys.stderr)
        return found.status or 1
    return found.status


def paths(checkout: Path, chosen: Selection) -> list[str]:
    """The files of a selection. What hypothesis makes up knows no kernel, and takes a minute a test here."""
    found = (path for each in chosen.patterns for path in sorted(glob.glob(each, root_dir=checkout)))
    return [path for path in found if not _generated(checkout / path)]


def _generated(path: Path) -> bool:
    return path.is_file() and "from hypothesis import" in path.read_text()


def names_tests(checkout: Path, words: list[str]) -> bool:
    """Whether pytest's arguments say where the tests are."""
    return any((checkout / word.partition("::")[0]).exists() for word in words if not word.startswith("-"))


def _environment(cache: Path) -> Path:
    """The image of this interpreter's environment."""
    image = cache / f"environment-{images.environment_key(Path(sys.prefix))}.img"
    with base.locked(cache):
        if not image.exists():
            images.make_environment(Path(sys.prefix), image)
            base.forget(cache, "environment-*", image)
    return image


if __name__ == "__main__":
    sys.exit(main())
