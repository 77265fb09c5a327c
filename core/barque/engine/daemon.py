"""`barqued`: the engine in one process, in the foreground, logging to standard error."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import barque
from barque.engine.core import Core
from barque.engine.drivers import Drivers
from barque.engine.engine import BarqueEngine
from barque.engine.events import EventBus
from barque.engine.host import CDI_DIRECTORIES, Host
from barque.engine.images.diffids import DiffIds
from barque.engine.images.pulling import Puller
from barque.engine.images.service import ImageService
from barque.engine.layout import Layout
from barque.engine.listening import Listening, add_options
from barque.engine.monitor import Monitor
from barque.engine.networking.resolving import NameService
from barque.engine.networking.sandboxes import SandboxPool
from barque.engine.networking.service import NetworkService
from barque.engine.storagechoice import choose_storage
from barque.engine.volumes.service import VolumeService
from barque.plugins.facades import StorageDriver
from barque.profiles.loading import default_name, load_profile
from barque.profiles.model import Profile
from barque.shim.launching import Launcher
from barque.spi.errors import BarqueError, Conflict, FailedPrecondition
from barque.store.content import ContentStore
from barque.store.database import Database

if TYPE_CHECKING:
    from barque.engine.rootless.entering import Keeper

__all__ = ["build_engine", "main"]

_log = logging.getLogger("barqued")
# A thread that works behind an answer (refilling, sweeping) must not keep a request waiting for Python's 5 ms.
_SWITCH_INTERVAL = 0.0005


def main() -> None:
    """Entry point of `barqued`."""
    options = _options(sys.argv[1:])
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    os.umask(0o077)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        sys.exit(_serve(options))
    except BarqueError as error:
        print(f"barqued: {error}", file=sys.stderr)
        sys.exit(1)


def _options(arguments: list[str]) -> argparse.Namespace:
    root, run = _default_places()
    parser = argparse.ArgumentParser(
        prog="barqued",
        description="The Barque daemon: a container engine that speaks the Docker Engine API.",
        epilog="Example: barqued --host unix:///run/barque/barque.sock --profile default",
    )
    parser.add_argument(
        "--root", type=Path, default=root, help=f"data that survives a reboot (default {root})"
    )
    parser.add_argument(
        "--run-dir", type=Path, default=run, help=f"data that does not have to (default {run})"
    )
    add_options(parser)
    parser.add_argument(
        "--profile",
        default=default_name(),
        help="name or file of a profile (default: default for root, rootless for others)",
    )
    parser.add_argument(
        "--cdi-spec-dir",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help=f"where vendors describe their devices; may be repeated, the last one counts most (default {' '.join(CDI_DIRECTORIES)})",
    )
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=f"barqued {barque.__version__}")
    return parser.parse_args(arguments)


def _default_places() -> tuple[Path, Path]:
    if os.geteuid() == 0:
        return Path("/var/lib/barque"), Path("/run/barque")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "barque", _user_run_dir()


def _user_run_dir() -> Path:
    """As `barque.cli.host.default_socket` has it."""
    given, usual = os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.geteuid()}"
    if given or os.path.isdir(usual):
        return Path(given or usual, "barque")
    return Path(f"/tmp/barque-{os.geteuid()}")


def build_engine(
    root: Path,
    run: Path,
    profile: Profile,
    keeper: Keeper | None = None,
    cdi_directories: tuple[str, ...] = (),
) -> BarqueEngine:
    """An engine on this data root; the caller holds the root's lock, and has gone into the namespaces of `keeper`, if
    the profile is rootless. Errors: BarqueError."""
    layout = Layout(root.absolute(), run.absolute())
    layout.make()
    drivers = Drivers(profile, layout)
    pool = ThreadPoolExecutor(
        1
    )  # the launcher loads its drivers in a process of its own, while we do ours here
    launcher = pool.submit(Launcher.spawn, drivers.refs(), sys.path)
    pool.shutdown(wait=False)
    database = Database(layout.database, layout.in_use)
    content, events, monitor = ContentStore(layout.content), EventBus(layout.events), Monitor()
    storage = choose_storage(drivers, layout, database)
    images = ImageService(drivers, database, content, events)
    core = Core(
        layout=layout,
        host=Host.look(
            rootless=keeper is not None,
            warnings=(*(keeper.warnings if keeper else ()), *storage.warnings),
            cdi_directories=cdi_directories,
        ),
        drivers=drivers,
        database=database,
        content=content,
        events=events,
        images=images,
        puller=Puller(drivers, content, images, DiffIds(content, images, layout.run / "empty")),
        networks=NetworkService(
            drivers, database, SandboxPool(monitor.submit), events, NameService(layout), keeper
        ),
        volumes=VolumeService(drivers, database, events),
        monitor=monitor,
        launcher=launcher.result,
    )
    if keeper is not None and keeper.fresh:
        _check_storage(drivers.storage())
    engine = BarqueEngine(core)
    engine.load()
    engine.frontends()
    launcher.result()
    return engine


def _check_storage(storage: StorageDriver) -> None:
    """Say at the start, and not at the first container, what an ordinary user cannot mount. Errors: FailedPrecondition."""
    for problem in storage.probe().problems:
        if problem.fatal:
            raise FailedPrecondition(problem.what, hint=problem.remedy)


def _serve(options: argparse.Namespace) -> int:
    stop = _stop_signal()
    listening = Listening.chosen(options, f"unix://{options.run_dir.absolute()}/barque.sock")
    # Before the namespaces are entered: to root in there, directories of the host's root are somebody else's.
    profile = load_profile(options.profile)
    keeper = _privileged(profile, options.run_dir)
    options.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    options.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(options.root), contextlib.ExitStack() as closing:
        engine = build_engine(options.root, options.run_dir, profile, keeper, tuple(options.cdi_spec_dir))
        closing.callback(engine.close)
        listeners = listening.open(closing)
        for frontend in engine.frontends():
            frontend.start(engine, listeners)
            closing.callback(frontend.stop, 5.0)
        _log.info(
            "ready: profile %s, %s", engine.info().profile, ", ".join(listener.url for listener in listeners)
        )
        engine.settle()
        os.read(stop, 1)
        _log.info("stopping; containers go on")
        engine.stop()
    return 0


def _stop_signal() -> int:
    """A descriptor that can be read once SIGTERM or SIGINT came.

    Not an Event that the handler sets: a signal that arrives between Python's last look at its flags and the moment the
    main thread sleeps would wake nobody, and a busy machine makes that moment long.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _privileged(profile: Profile, run: Path) -> Keeper | None:
    """Make sure that this process is root, in namespaces of its user where the profile is rootless.

    Before any thread is started: a user namespace is entered with one. Errors: FailedPrecondition, BarqueError.
    """
    if profile.rootless is None:
        if os.geteuid() != 0:
            raise FailedPrecondition(
                f"profile {profile.name} needs root",
                hint="run barqued as root, or with --profile rootless",
            )
        return None
    from barque.engine.rootless.entering import enter  # not at the start of every daemon

    keeper = enter(run, profile.rootless)
    for warning in keeper.warnings:
        _log.warning("%s", warning)
    return keeper


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the data root against a second daemon (row R8). The lock goes with the process; no pidfile to be stale."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Conflict(
            f"another barqued uses the data root {root}", hint="stop it, or give this one another --root"
        ) from None
    try:
        yield
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
