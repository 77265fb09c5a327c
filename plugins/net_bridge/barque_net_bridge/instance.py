"""Which daemon on this host is this one, when there are several in one network namespace.

Each needs a default bridge, a table and an interface group of its own: what carries them is its, and what a crash left
of them is its to remove. The first daemon takes the configured names, the next ones number theirs. A lock shows
which are taken; the number is remembered in the options of the networks that the engine keeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi.errors import FailedPrecondition
from barque_net_bridge.settings import group_of, interface_name, table_name

__all__ = ["OPTION", "Claim", "Instance", "claim", "instance", "number_of"]

log = logging.getLogger(__name__)

OPTION = "barque.network.instance"
_LOCKS = "/run/barque-net"
_MOST = 64


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance's names: default bridge, nftables table, interface group (the next one is for its dead links)."""

    number: int
    bridge: str
    table: str
    group: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The exclusive right to an instance's names, as long as the process lives or until `release`."""

    instance: Instance
    path: str
    descriptor: int

    def release(self) -> None:
        """Let others have the names. Once."""
        if self.descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            os.close(self.descriptor)


def instance(bridge: str, table: str, number: int) -> Instance:
    """The names of instance `number`: `barque0` and `barque`, then `barque1` and `barque_1`, and so on."""
    if number > 0:
        stem, digits = re.fullmatch(r"(.*?)([0-9]*)", bridge).groups()  # type: ignore[union-attr]  # it always matches
        bridge = f"{stem}{int(digits or 0) + number}"
        table = f"{table}_{number}"
    return Instance(number, interface_name(bridge), table_name(table), group_of(bridge))


def number_of(options: Mapping[str, str]) -> int:
    """The number that a stored network remembers."""
    value = options.get(OPTION, "0")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 3 else 0


def claim(bridge: str, table: str, stored: int | None) -> Claim:
    """Take an instance's names in the calling thread's network namespace.

    `stored` is the number that this daemon had before, None for a new one. Errors: FailedPrecondition.
    """
    numbers = range(_MOST) if stored is None else (stored,)
    for number in numbers:
        wanted = instance(bridge, table, number)
        if _in_user_namespace():
            return Claim(wanted, "", -1)
        path = f"{_LOCKS}/{os.stat('/proc/thread-self/ns/net').st_ino}-{wanted.bridge}"
        try:
            return Claim(wanted, path, _lock(path))
        except BlockingIOError:
            continue
        except OSError as error:
            log.warning("other daemons on this host cannot be told from this one: %s", error)
            return Claim(wanted, path, -1)
    raise FailedPrecondition(
        f"bridge {instance(bridge, table, numbers[-1]).bridge} belongs to another running daemon on this host",
        hint="stop that one, or name another bridge and table for one of them in its profile",
    )


def _in_user_namespace() -> bool:
    """A rootless daemon's network namespace is its own: nobody else is there to be told apart."""
    with open("/proc/self/uid_map", "rb") as file:
        return file.read(4096).split() != [b"0", b"0", b"4294967295"]


def _lock(path: str) -> int:
    """A descriptor that holds the lock. Errors: BlockingIOError (a living process has it), other OSError."""
    os.makedirs(_LOCKS, 0o700, exist_ok=True)
    _prune()
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if _locked(descriptor, path):
            return descriptor
        os.close(descriptor)


def _locked(descriptor: int, path: str) -> bool:
    """Lock the file; False when somebody removed it in between. The descriptor is closed on BlockingIOError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return _same(descriptor, path)


def _prune() -> None:
    """Remove the lock files that nobody holds: of daemons that were killed, in namespaces that may be gone."""
    for name in os.listdir(_LOCKS):
        path = f"{_LOCKS}/{name}"
        with contextlib.suppress(OSError):  # it is held, or somebody else was faster
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(descriptor, path):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _same(descriptor: int, path: str) -> bool:
    """Whether the file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
