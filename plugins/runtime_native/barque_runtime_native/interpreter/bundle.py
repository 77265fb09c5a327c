"""The code of many modules in one file, for `loader`: a marshalled tuple (code of the loader, index, orders), then the
marshalled code of each module.

Python's own importer makes five system calls and 0.15 ms of work for each module; `barque-runtime run` needs fifty.
A module whose source has changed since is left to Python's own importer, and the file that led here is removed.
"""

from __future__ import annotations

import marshal
import os
import re
from importlib.machinery import SourceFileLoader

PACKAGES = ("barque_runtime_native", "barque", "barque.spi")
LOADER = "barque_runtime_native.interpreter.loader"
LINE = "barque_runtime_native.commands.line"
# commands that are worth an order of their own, and the module each begins with
ORDERED = {
    "run": "barque_runtime_native.commands.create",
    "create": "barque_runtime_native.commands.create",
    "exec": "barque_runtime_native.commands.exec",
}
IMPORT = re.compile(r"^from (barque[\w.]*) import (\([^)]*\)|[^\n#]+)", re.MULTILINE)


def write_bundle(path: str, paths: list[str]) -> int:
    """Write the bundle of the modules found below `paths`; the size of its first part. Replaces the file in one step."""
    from barque_runtime_native.interpreter.quick_start import write_atomically

    index: dict[str, tuple[str, bool, int, int, int, int]] = {}
    parts: list[bytes] = []
    offset = 0
    sources = dict(modules(paths))
    for name, source in sources.items():
        status = os.stat(source)
        code = marshal.dumps(SourceFileLoader(name, source).get_code(name))
        is_package = source.endswith("/__init__.py")
        index[name] = (source, is_package, status.st_mtime_ns, status.st_size, offset, len(code))
        parts.append(code)
        offset += len(code)
    orders = {word: order_of([LINE, first], sources) for word, first in ORDERED.items()}
    head = marshal.dumps((SourceFileLoader(LOADER, sources[LOADER]).get_code(LOADER), index, orders))
    write_atomically(path, b"".join((head, *parts)), 0o600)
    return len(head)


def order_of(wanted: list[str], sources: dict[str, str]) -> list[str]:
    """`wanted` and all they import at their first line's level, each after what it imports itself."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name not in sources:
            return
        seen.add(name)
        visit(name.rpartition(".")[0])
        with open(sources[name], encoding="utf-8") as file:
            text = file.read()
        for module, names in IMPORT.findall(text):
            visit(module)
            for word in names.strip("()").replace("\n", " ").split(","):
                visit(f"{module}.{word.split(' as ')[0].strip()}")
        order.append(name)

    for name in wanted:
        visit(name)
    return order


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
        elif package.startswith(PACKAGES[0]) and os.path.exists(f"{path}/__init__.py"):
            add_package(f"{package}.{file}", path, found)
