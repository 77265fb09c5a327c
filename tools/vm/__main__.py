"""The test suite in a virtual machine that has cgroup v2 alone: `make test-vm`.

    tools/vm [--systemd] [--at-least N] [--limit SECONDS] [pytest's arguments]

The exit status is pytest's; 1 also when fewer than N tests ran, 2 when the machine did not come to an end.
"""

from __future__ import annotations

import argparse
import glob
import sys
import tempfile
import time
from pathlib import Path

import answer
import base
import images
import machine

CHECKOUT = Path(__file__).resolve().parents[2]
# What there is to prove on cgroup v2, and what must not be lost from it unnoticed.
SELECTION = ["tests/conformance/test_runtime*.py", "tests/integration/test_native_*.py", "tests/unit/runtime_native", "tests/vm"]  # fmt: skip
SELECTION_SYSTEMD = ["tests/integration/test_native_systemd*.py", "tests/vm"]


def main() -> int:
    """Run it."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(prog="tools/vm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--systemd", action="store_true", help="systemd is the machine's first process")
    parser.add_argument("--at-least", type=int, default=1, help="fail when fewer tests ran")
    parser.add_argument("--limit", type=float, default=1500, help="end the machine after so many seconds")
    options, words = parser.parse_known_args()
    if sys.version_info[:2] != base.PYTHON:
        raise SystemExit(
            f"vm: the machine is Debian {base.SUITE}: it needs an environment of Python {base.PYTHON}"
        )
    arguments = words or _expand(SELECTION_SYSTEMD if options.systemd else SELECTION)
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
    print(f"vm: {found.describe()}, all {time.monotonic() - begin:.0f} s")
    if found.ran < options.at_least:
        print(f"vm: at least {options.at_least} tests must run", file=sys.stderr)
        return found.status or 1
    return found.status


def _environment(cache: Path) -> Path:
    """The image of this interpreter's environment."""
    image = cache / f"environment-{images.environment_key(Path(sys.prefix))}.img"
    with base.locked(cache):
        if not image.exists():
            images.make_environment(Path(sys.prefix), image)
            base.forget(cache, "environment-*", image)
    return image


def _expand(patterns: list[str]) -> list[str]:
    """The files that are there."""
    return [path for pattern in patterns for path in sorted(glob.glob(pattern, root_dir=CHECKOUT))]


if __name__ == "__main__":
    sys.exit(main())
