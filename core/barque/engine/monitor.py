"""One thread that watches every shim's event channel and every client that waits for a start.

What an event means is decided elsewhere: handlers run on a few worker threads, so that one container's end
never waits for another's.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from barque.shim.client import read_event

__all__ = ["Monitor"]

_log = logging.getLogger(__name__)
_WORKERS = 4
_HANGUP = select.EPOLLHUP | select.EPOLLERR

EventHandler = Callable[[dict[str, Any] | None], None]


class Monitor:
    """Thread-safe. Descriptors are the caller's to close, after `forget`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._channels: dict[int, tuple[socket.socket, EventHandler]] = {}
        self._hangups: dict[int, Callable[[], None]] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="shim-event")
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def watch(self, channel: socket.socket, handler: EventHandler) -> None:
        """Call `handler` with each event of a shim, and with None at the end of the channel, which is then forgotten."""
        with self._lock:
            self._channels[channel.fileno()] = (channel, handler)
        self._epoll.register(channel.fileno(), select.EPOLLIN | select.EPOLLHUP)

    def watch_hangup(self, fd: int, handler: Callable[[], None]) -> None:
        """Call `handler` once when the peer of `fd` is gone."""
        with self._lock:
            self._hangups[fd] = handler
        self._epoll.register(fd, _HANGUP)

    def forget(self, fd: int) -> None:
        """Stop watching. Idempotent."""
        with self._lock:
            known = self._channels.pop(fd, None) or self._hangups.pop(fd, None)
        if known is not None:
            try:
                self._epoll.unregister(fd)
            except OSError as error:
                _log.debug("forget %d: %s", fd, error)

    def submit(self, work: Callable[[], None]) -> None:
        """Run something behind the caller's answer."""
        self._pool.submit(_logged, work)

    def close(self) -> None:
        """End the thread, let handlers finish. Idempotent."""
        if self._thread.is_alive():
            os.write(self._wake_write, b"x")
            self._thread.join()
            self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wake_read:
                    return
                self._ready(fd)

    def _ready(self, fd: int) -> None:
        with self._lock:
            channel, hangup = self._channels.get(fd), self._hangups.get(fd)
        if hangup is not None:
            self.forget(fd)
            self.submit(hangup)
        elif channel is not None:
            connection, handler = channel
            try:
                event = read_event(connection)
            except OSError:
                event = None
            if event is None:
                self.forget(fd)
            self.submit(lambda: handler(event))


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - a worker thread's last resort: told in the log, not lost
        _log.exception("a handler failed")
