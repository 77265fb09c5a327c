"""What the first call of `barque-runtime` leaves for the later ones, below /run/barque-runtime/.start (0700, root's):

    ,usr,bin,barque-runtime        for the script /usr/bin/barque-runtime: a program of 100 instructions' size
                                   (`trampoline`) that starts the interpreter read-only
    ,usr,bin,barque-runtime.code   the code of all our modules in one file (`bundle`)

It is gone after a reboot, and it is removed by whoever finds it out of date. Without it everything works, slower.
"""

from __future__ import annotations

import os
import stat

from barque_runtime_native.command import STARTED_AS, import_paths, interpreter
from barque_runtime_native.interpreter.bundle import write_bundle
from barque_runtime_native.interpreter.trampoline import program

DIRECTORY = "/run/barque-runtime/.start"
START = (
    "import marshal,posix;f=posix.open({bundle!r},{flags});c,i,o=marshal.loads(posix.read(f,{size}));n={{'__name__':'loader'}};"
    "exec(c,n);n['run'](f,{size},{name!r},{paths!r},i,o)"
)


def prepare(script: str, directory: str = DIRECTORY) -> None:
    """Make both files for the script at the absolute path `script`. A machine on which that cannot be done goes without."""
    name = os.path.join(directory, script.replace("/", ","))
    first = os.path.join(os.path.dirname(os.path.realpath(script)), "barque-runtime-first")
    if not os.access(first, os.X_OK):
        return
    try:
        for path in (os.path.dirname(directory), directory):
            os.makedirs(path, 0o700, exist_ok=True)
            status = os.lstat(path)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022 or not stat.S_ISDIR(status.st_mode):
                return  # somebody else could put a program there
        size = write_bundle(f"{name}.code", import_paths())
        start = START.format(
            bundle=f"{name}.code", flags=os.O_CLOEXEC, size=size, name=name, paths=import_paths()
        )
        machine_code = program(interpreter(start), [first, STARTED_AS + script])
        if machine_code:
            write_atomically(name, machine_code, 0o700)
    except OSError:
        return  # a read-only or full /run: the next call is as slow as this one


def write_atomically(path: str, data: bytes, mode: int) -> None:
    """A file that is there in full or not at all."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    os.rename(temporary, path)
