"""Runs in an interpreter that has just been started by the trampoline, from a bundle: nothing else of ours is there yet.

Every millisecond here is one of each `barque-runtime run`. So it imports only what every interpreter has in it already;
the modules that a command needs are executed one after the other, in an order worked out beforehand, and not by the
import system, which would take a third of the time again; and `os`, half of whose import is abstract base classes
that nobody here uses, is loaded in full only when somebody asks for what the kernel does not offer by itself.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

    # source file, whether it is a package, its time of change and size, offset and length of its code
    Entry = tuple[str, bool, int, int, int, int]

Module = type(sys)
Spec = type(sys.__spec__)


def run(
    file: int, base: int, start: str, paths: list[str], index: dict[str, Entry], orders: dict[str, list[str]]
) -> None:
    """Load what the command needs and do it. `file` is the bundle, `base` where its modules begin, `start` the file to
    remove when something is out of date, `paths` where our packages are, `orders` the modules of some commands."""
    gc.disable()
    sys.path += paths  # behind the library: nothing of that is to be looked for in ours
    importer = Importer(file, base, start, index)
    sys.meta_path.insert(0, importer)
    for word in sys.argv[1:]:
        if word in orders:
            use_light_os()
            importer.load(orders[word])
            break
    from barque_runtime_native.command import protected

    protected()


class Importer:
    """Finds and loads modules in the bundle (importlib.abc.MetaPathFinder, Loader)."""

    def __init__(self, file: int, base: int, start: str, index: dict[str, Entry]) -> None:
        self.file = file
        self.base = base
        self.start = start
        self.index = index

    def load(self, names: Sequence[str]) -> None:
        """Make and execute these modules, each after those it imports. One that is out of date ends it: the import
        system does the rest."""
        for name in names:
            if not self.current(name):
                return
            origin, is_package = self.index[name][:2]
            module = Module(name)
            parent, _, child = name.rpartition(".")
            module.__file__ = origin
            module.__package__ = name if is_package else parent
            if is_package:
                module.__path__ = [origin.rpartition("/")[0]]
            sys.modules[name] = module
            if parent:
                setattr(sys.modules[parent], child, module)
            self.exec_module(module)

    def current(self, name: str) -> bool:
        """Whether the module's source has not changed; if it has, the next call of the command makes a new bundle."""
        origin, _, modified, size = self.index[name][:4]
        try:
            found = posix.stat(origin)
            if found.st_mtime_ns == modified and found.st_size == size:
                return True
        except OSError:
            pass  # gone: the import system says so
        try:  # noqa: SIM105 - contextlib is dear
            posix.unlink(self.start)
        except OSError:
            pass  # somebody else was quicker
        return False

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if name not in self.index or not self.current(name):
            return None
        origin, is_package = self.index[name][:2]
        spec = Spec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def create_module(self, _spec: object) -> None:
        """See `importlib.abc.Loader.create_module`."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader.exec_module`."""
        offset, length = self.index[module.__name__][4:]
        code: CodeType = marshal.loads(posix.pread(self.file, length, self.base + offset))
        exec(code, module.__dict__)


class LightOs(Module):  # type: ignore[misc, valid-type]
    """Stands for `os`: what the kernel offers, paths, and the environment. All else makes it the whole."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules["os"]
        import os

        sys.modules["os"] = self
        self.__dict__.update(os.__dict__)
        return getattr(os, name)


def use_light_os() -> None:
    """Put `LightOs` in the place of an `os` that nobody has imported yet."""
    if "os" in sys.modules:
        return
    light = LightOs("os")
    light.__dict__.update(posix.__dict__)
    light.__dict__.update(
        __name__="os",
        name="posix",
        error=OSError,
        SEEK_SET=0,
        SEEK_CUR=1,
        SEEK_END=2,
        fsencode=encode,
        fsdecode=decode,
        environ={decode(key): decode(value) for key, value in posix.environ.items()},
    )
    sys.modules["os"] = light
    import posixpath

    light.path = sys.modules["os.path"] = posixpath


def encode(path: Any) -> bytes:
    """As `os.fsencode`."""
    path = posix.fspath(path)
    return path.encode(sys.getfilesystemencoding(), "surrogateescape") if isinstance(path, str) else path


def decode(path: Any) -> str:
    """As `os.fsdecode`."""
    path = posix.fspath(path)
    return path.decode(sys.getfilesystemencoding(), "surrogateescape") if isinstance(path, bytes) else path
