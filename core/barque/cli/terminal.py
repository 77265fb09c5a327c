"""The user's terminal: raw mode, its size, and the keys that detach from a container."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator

from barque.cli.errors import CliError

__all__ = ["DetachKeys", "is_terminal", "no_echo", "raw_mode", "size"]

_DEFAULT_KEYS = "ctrl-p,ctrl-q"


def is_terminal(fd: int) -> bool:
    """Whether the descriptor is a terminal; a closed one is not."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size(fd: int) -> tuple[int, int] | None:
    """(height, width) in characters, or None when the terminal does not tell."""
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        return None
    return (lines, columns) if lines and columns else None


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Pass every key on as it is while the block runs; the former mode comes back whatever happens."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class DetachKeys:
    """Watches typed bytes for the detach sequence (`ctrl-p,ctrl-q` unless told otherwise).

    Keys of a sequence begun are held back until it is complete (then they are dropped) or broken off (then they go on).
    """

    def __init__(self, keys: str = "") -> None:
        self._sequence = bytes(_key(name) for name in (keys or _DEFAULT_KEYS).split(","))
        self._matched = 0

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """(bytes to send, whether the sequence is complete). What is typed after it is dropped."""
        send = bytearray()
        for byte in typed:
            while self._matched and byte != self._sequence[self._matched]:
                self._give_up_one(send)
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    self._matched = 0
                    return bytes(send), True
            else:
                send.append(byte)
        return bytes(send), False

    def _give_up_one(self, send: bytearray) -> None:
        """Release held keys until the rest is again a beginning of the sequence."""
        held = self._sequence[: self._matched]
        for start in range(1, len(held) + 1):
            if self._sequence.startswith(held[start:]):
                send += held[:start]
                self._matched = len(held) - start
                return


def _key(name: str) -> int:
    if len(name) == 1 and name.isascii():
        return ord(name)
    control = name.removeprefix("ctrl-")
    if control != name and len(control) == 1:
        letter = control.lower()
        if letter in "abcdefghijklmnopqrstuvwxyz":
            return ord(letter) - ord("a") + 1
        if letter in "@[\\]^_":
            return ord(letter) - 64
    raise CliError(f"invalid detach keys ({name}): Unknown character: '{name}'")


@contextlib.contextmanager
def no_echo(fd: int) -> Iterator[None]:
    """Do not show what is typed while the block runs (a password)."""
    before = termios.tcgetattr(fd)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, silent)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
