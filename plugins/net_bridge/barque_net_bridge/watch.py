"""Asserts the table again when somebody else flushes or changes it (row S38).

The kernel announces each nftables change on a multicast group: nothing is polled and an idle host costs nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time

from barque.spi.errors import BarqueError
from barque_net_bridge import nfnetlink
from barque_net_bridge.firewall import Firewall
from barque_net_bridge.netlink import NETLINK_NETFILTER, NetlinkSocket, messages

__all__ = ["Watch"]

log = logging.getLogger(__name__)

_SETTLE = 0.05  # seconds: who flushes often goes on to load other rules at once
_RETRY = 2.0  # seconds until the next attempt when nftables refused


class Watch:
    """A thread that listens. `start` and `close` are idempotent."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = -1

    def start(self) -> None:
        """Listen from now on, in the calling thread's network namespace."""
        with self._lock:
            if self._thread is not None:
                return
            channel = NetlinkSocket(NETLINK_NETFILTER, groups=(nfnetlink.NFNLGRP_NFTABLES,))
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            self._thread = threading.Thread(
                target=self._run, args=(channel, self._stop), name="barque-nft-watch", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                os.eventfd_write(self._stop, 1)
                thread.join()
                os.close(self._stop)

    def _run(self, channel: NetlinkSocket, stop: int) -> None:
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.register(stop, select.POLLIN)
        events = _Events(self._firewall.table)
        due: float | None = None
        with channel:
            while True:
                wait = None if due is None else max(0.0, due - time.monotonic()) * 1000
                ready = {descriptor for descriptor, _ in poll.poll(wait)}
                if stop in ready:
                    return
                if ready:
                    events.read(channel)
                if due is None and events.suspicious:
                    due = time.monotonic() + _SETTLE
                elif due is not None and time.monotonic() >= due:
                    due = None if self._assert(events) else time.monotonic() + _RETRY

    def _assert(self, events: _Events) -> bool:
        try:
            if self._firewall.reassert(unless_own=() if events.overrun else events.generations):
                log.warning("table %s was changed by somebody else and is restored", self._firewall.table)
        except BarqueError as error:
            log.error("table %s cannot be restored: %s", self._firewall.table, error)
            return False
        events.forget()
        return True


class _Events:
    """What was heard: `generations` that deleted something of the table; `overrun` when events were lost."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._pending = False  # a deletion was seen, and the generation that ends its transaction was not yet
        self.generations: set[int] = set()
        self.overrun = False

    @property
    def suspicious(self) -> bool:
        """Whether the table may have lost something."""
        return self.overrun or bool(self.generations)

    def forget(self) -> None:
        """The table is whole again."""
        self.generations.clear()
        self.overrun = False

    def read(self, channel: NetlinkSocket) -> None:
        """Take in one datagram."""
        try:
            datagram = channel.receive()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overrun = True
            return
        for message in messages(datagram):
            event = nfnetlink.event(message)
            if isinstance(event, nfnetlink.Deleted):
                self._pending = self._pending or event.table == self._table
            elif event is not None and self._pending:
                self.generations.add(event.id)
                self._pending = False
