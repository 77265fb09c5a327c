"""The test suite in a virtual machine that has cgroup v2 alone: `make test-vm`.

    PYTHONPATH=tools python -m vm [--systemd] [--at-least N] [--limit SECONDS] [pytest's arguments]

The exit status is pytest's; 1 also when fewer than N tests ran, 2 when the machine did not come to an end.
"""

from __future__ import annotations

import argparse
import glob
import resource
import sys
import tempfile
import time
from pathlib import Path

from vm import answer, base, images, machine

CHECKOUT = Path(__file__).resolve().parents[2]
# What there is to prove on cgroup v2, and how many tests must not be lost from it unnoticed.
SELECTION = ("tests/conformance/test_runtime*.py", "tests/integration/test_native_*.py", "tests/unit/runtime_native", "tests/vm")  # fmt: skip
SELECTION_SYSTEMD = ("tests/integration/test_native_systemd*.py", "tests/vm")
AT_LEAST = 300
AT_LEAST_SYSTEMD = 10


def main() -> int:
    """Run it."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(prog="vm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--systemd", action="store_true", help="systemd is the machine's first process")
    parser.add_argument("--at-least", type=int, help="fail when fewer tests ran")
    parser.add_argument("--limit", type=float, default=1500, help="end the machine after so many seconds")
    options, words = parser.parse_known_args()
    if sys.version_info[:2] != base.PYTHON:
        raise SystemExit(
            f"vm: the machine is Debian {base.SUITE}: it needs an environment of Python {base.PYTHON}"
        )
    arguments = selection(CHECKOUT, words, systemd=options.systemd)
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
    if found.ran < (at_least := floor(options.at_least, words, systemd=options.systemd)):
        print(f"vm: at least {at_least} tests must run", file=sys.stderr)
        return found.status or 1
    return found.status


def selection(checkout: Path, words: list[str], *, systemd: bool) -> list[str]:
    """The arguments for pytest: `words`, and where they name no test file or directory, the ones that matter here."""
    if any((checkout / word.partition("::")[0]).exists() for word in words if not word.startswith("-")):
        return words
    patterns = SELECTION_SYSTEMD if systemd else SELECTION
    return [*(path for each in patterns for path in sorted(glob.glob(each, root_dir=checkout))), *words]


def floor(wanted: int | None, words: list[str], *, systemd: bool) -> int:
    """How many tests must run: what was said; all that matter; of a selection, one."""
    if wanted is not None:
        return wanted
    if words:
        return 1
    return AT_LEAST_SYSTEMD if systemd else AT_LEAST


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
