"""The code of many modules in one file, and the importer that loads them from it.

Python's own importer makes five system calls and 0.15 ms of work for each module; `barque-runtime run` needs forty.
The file: a marshalled code object (of `LOADER` with the index as its constant), then the marshalled code of each module.
A module whose source has changed since is left to Python's own importer, and the file that led here is removed.
"""

from __future__ import annotations

import marshal
import os
from importlib.machinery import SourceFileLoader

PACKAGES = ("barque_runtime_native", "barque", "barque.spi")

# Executed in the new interpreter with `file` (descriptor), `base` (offset of the first module), `start` (file to remove
# when something is out of date) and `paths` (for sys.path). Imports nothing that is not in the interpreter already.
LOADER = """
import gc, marshal, posix, sys

gc.disable()
sys.path[:0] = paths
Spec = type(sys.__spec__) if getattr(sys, "__spec__", None) else type(posix.__spec__)


class Importer:
    @staticmethod
    def find_spec(name, path=None, target=None):
        entry = INDEX.get(name)
        if entry is None:
            return None
        origin, package, modified, size = entry[:4]
        try:
            found = posix.stat(origin)
            current = found.st_mtime_ns == modified and found.st_size == size
        except OSError:
            current = False
        if not current:
            try:
                posix.unlink(start)
            except OSError:
                pass
            return None
        spec = Spec(name, Importer, origin=origin, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        offset, length = INDEX[module.__name__][4:]
        exec(marshal.loads(posix.pread(file, length, base + offset)), module.__dict__)


sys.meta_path.insert(0, Importer)
from barque_runtime_native.command import protected
protected()
"""


def write_bundle(path: str, paths: list[str]) -> int:
    """Write the bundle of the modules found below `paths`; the size of its first part. Replaces the file in one step."""
    from barque_runtime_native.interpreter.quick_start import write_atomically

    index: dict[str, tuple[str, bool, int, int, int, int]] = {}
    parts: list[bytes] = []
    offset = 0
    for name, source in modules(paths):
        status = os.stat(source)
        code = marshal.dumps(SourceFileLoader(name, source).get_code(name))
        is_package = source.endswith("/__init__.py")
        index[name] = (source, is_package, status.st_mtime_ns, status.st_size, offset, len(code))
        parts.append(code)
        offset += len(code)
    head = marshal.dumps(compile(f"INDEX = {index!r}\n{LOADER}", "<barque-runtime>", "exec"))
    write_atomically(path, b"".join((head, *parts)), 0o600)
    return len(head)


def modules(paths: list[str]) -> list[tuple[str, str]]:
    """(name, source file) of every module of the packages."""
    found: list[tuple[str, str]] = []
    for package in PACKAGES:
        places = (os.path.join(path, *package.split(".")) for path in paths)
        add_package(package, next(place for place in places if os.path.isdir(place)), found)
    return found


def add_package(package: str, directory: str, found: list[tuple[str, str]]) -> None:
    """The modules of one package; for the native runtime's own also those of the packages in it."""
    for file in sorted(os.listdir(directory)):
        path = os.path.join(directory, file)
        if file.endswith(".py"):
            stem = file[:-3]
            found.append((package if stem == "__init__" else f"{package}.{stem}", path))
        elif package == PACKAGES[0] and os.path.exists(f"{path}/__init__.py"):
            add_package(f"{package}.{file}", path, found)
