"""The command `barque-runtime`: the native runtime without an engine, in place of `runc`.

This module imports nothing but `sys` and `os`, because of what it does first: a process that enters a container could
be made to execute `/proc/self/exe`, or be looked at through /proc by processes inside, and would hand out the host's
Python interpreter for writing (CVE-2019-5736). So the interpreter is executed again from a detached read-only clone
of its mount, which nobody can write through or reach, and only then are the other modules imported.

Two interpreter starts are dear. The first call as root leaves behind what later calls need to do with one: see
`interpreter.quick_start`; the script `barque-runtime` looks for it, and calls this module (as `barque-runtime-first`) when it is missing.
"""

from __future__ import annotations

import os
import sys

ENTERING = ("create", "run", "exec", "restore")
STARTED_AS = "--started-as="
START = "import gc, sys; gc.disable(); sys.path[:0] = {paths!r}; from barque_runtime_native.command import protected; protected()"


def main() -> None:
    """Entry point. Exits with the command's status."""
    script = ""
    if sys.argv[1:2] and sys.argv[1].startswith(STARTED_AS):
        script = sys.argv.pop(1).removeprefix(STARTED_AS)
    if os.geteuid() == 0 and script.startswith("/"):
        from barque_runtime_native.interpreter.quick_start import prepare

        prepare(script)
    if any(word in ENTERING for word in sys.argv[1:]):
        execute_protected(sys.argv)
    protected()


def protected() -> None:
    """What runs once the interpreter is out of reach, or for a command that enters no container."""
    from barque_runtime_native.commands.line import run

    status = run(sys.argv[1:])
    sys.stdout.flush()
    # Taking the interpreter apart in good order takes 2 ms, and nothing is left to be done.
    os._exit(status)


def execute_protected(argv: list[str]) -> None:
    """Execute this interpreter again, read-only, isolated from environment and site packages."""
    from barque.spi.errors import BarqueError
    from barque_runtime_native.interpreter.exe_clone import read_only_clone

    try:
        tree = read_only_clone()
    except BarqueError as error:
        sys.exit(f"barque-runtime: {error}")
    os.execve(tree, [*interpreter(START.format(paths=import_paths())), *argv[1:]], os.environ)


def interpreter(start: str) -> list[str]:
    """The arguments of an isolated interpreter that executes `start`."""
    return [os.path.realpath(sys.executable), "-ISE", "-c", start]


def import_paths() -> list[str]:
    """Where this package and `barque` are."""
    import barque

    package = os.path.dirname(os.path.realpath(__file__))
    core = os.path.dirname(os.path.dirname(os.path.realpath(barque.__file__)))
    return list(dict.fromkeys((os.path.dirname(package), core)))


if __name__ == "__main__":
    main()
