"""Starts one container after another in a process of its own, and counts how it went: what a race needs to be tried often.

python native_starts.py BUNDLE ROOT COUNT prints a JSON object: how many started, and how many failed with which error.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter

from barque.spi.errors import BarqueError
from barque_runtime_native import lifecycle, warm
from barque_runtime_native.create import Creation
from barque_runtime_native.plan import Plan


def start_once(bundle: str, root: str, config: dict[str, object]) -> str:
    """`started`, or the error without the numbers in it."""
    pid = 0
    try:
        pid, _ = Creation(Plan("race", bundle, config), dict(config), root).run()
        lifecycle.start("race", root)
    except BarqueError as error:
        return re.sub(r"\d+", "N", str(error))[:120]
    finally:
        lifecycle.delete("race", root, True)
        if pid:  # a creation that fails has reaped it
            os.waitpid(pid, 0)
    return "started"


def main() -> None:
    """See the module's docstring."""
    bundle, root, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    warm.preload()
    print(json.dumps(Counter(start_once(bundle, root, config) for _ in range(count))))


if __name__ == "__main__":
    main()
