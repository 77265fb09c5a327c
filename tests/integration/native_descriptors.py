"""Starts or executes with each of the runtime's own descriptors as working directory, in one process (row S3).

python native_descriptors.py run|exec BUNDLE ROOT FORMAT STEP: descriptors 3 to 1023 are the host's root directory, inheritable;
FORMAT makes the working directory of a number (`/proc/self/fd/{}`). Above 64, every STEPth is tried. Prints a JSON list of
[number, error or ""].
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from barque.spi.errors import BarqueError
from barque_runtime_native import lifecycle, warm
from barque_runtime_native.create import Creation
from barque_runtime_native.execute import Execution
from barque_runtime_native.plan import Plan

NUMBERS = range(1024)


def leak() -> None:
    """The host's root directory under every number that is free."""
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    while host < NUMBERS[-1]:
        os.set_inheritable(host, True)
        host = os.dup(host)
    os.set_inheritable(host, True)


def start(bundle: str, root: str, config: dict[str, Any]) -> None:
    """A container, to the execve of its program, and deleted."""
    pid = 0
    try:
        pid, _ = Creation(Plan("descriptors", bundle, config), config, root).run()
        lifecycle.start("descriptors", root)
    finally:
        lifecycle.delete("descriptors", root, True)
        reap(pid)


def execute(root: str, process: dict[str, Any]) -> None:
    """A process in the container `box`."""
    pid, _ = Execution("box", root, process).run()
    reap(pid)


def reap(pid: int) -> None:
    """Wait for a process that ends, if it is there."""
    try:
        if pid:
            os.waitpid(pid, 0)
    except ChildProcessError:
        return


def main() -> None:
    """See the module's docstring."""
    how, bundle, root, form, step = sys.argv[1:]
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    warm.preload()
    leak()
    results = []
    for number in (*NUMBERS[:64], *NUMBERS[64 :: int(step)]):
        config["process"]["cwd"] = form.format(number)
        try:
            if how == "run":
                start(bundle, root, config)
            else:
                execute(root, config["process"])
        except BarqueError as error:
            results.append([number, str(error)])
        else:
            results.append([number, ""])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
