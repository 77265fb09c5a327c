"""The veth ends on the host: burying those that are left over, keeping the others on their bridge."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from barque_net_bridge import rtnetlink
from barque_net_bridge.background import Background
from barque_net_bridge.networks import Networks
from barque_net_bridge.refusals import kernel

__all__ = ["HostLinks"]

_PREFIX = "bqv"
_GRACE = 0.25  # seconds that a sandbox has to take its link with it


class HostLinks:
    """The host's ends of endpoints, known by the interface group of this instance. Thread-safe."""

    def __init__(self, networks: Networks, background: Background) -> None:
        self._networks = networks
        self._background = background
        self._lock = threading.Lock()
        self._made: set[str] = set()  # by this process, and not buried
        self._dead: set[str] = set()
        self._retired = False  # whether there may be links in the group of those to be deleted

    def name(self) -> str:
        """A name for a new link. Whoever asks for one buries it in the end."""
        name = _PREFIX + os.urandom(5).hex()
        self._made.add(name)
        return name

    def bury(self, host: str) -> None:
        """Delete a link in a moment, in the background: that takes a grace period of the kernel, 15 ms and more.

        Mostly there is nothing left to do then: the link went with the last descriptor of its sandbox.
        """
        with self._lock:
            first = not self._dead and not self._retired
            self._dead.add(host)
        if first:
            self._background.after(_GRACE, self._bury_all)

    def bury_retired(self) -> None:
        """The same for what is in the group of links that are to be deleted."""
        with self._lock:
            first = not self._dead and not self._retired
            self._retired = True
        if first:
            self._background.after(_GRACE, self._bury_all)

    def close(self) -> None:
        """Delete what is retired now: the background has ended. Idempotent."""
        if self._retired:
            self._bury_all()

    def remove(self, host: str) -> None:
        """Delete a link now: its sandbox lives on without it. Idempotent."""
        self._networks.firewall.unguard((host,))
        with kernel("removing a link"):
            self._delete({host})
        self._made.discard(host)

    def match(self, masters: Mapping[str, int]) -> None:
        """Delete what a former process made, but the links in `masters` (name to bridge index); put a link
        that lost its bridge back on it."""
        groups = (self._networks.group, self._networks.group + 1)
        with kernel("restoring links"):
            every = rtnetlink.links(self._networks.channel)
            ours = [link for link in every if link.kind == "veth" and link.group in groups]
            self._delete(
                {link.name for link in ours if link.name not in masters and link.name not in self._made}
            )
            for link in ours:
                if link.master != masters.get(link.name, link.master):
                    self._networks.channel.do(rtnetlink.set_master(link.name, masters[link.name]))

    def _bury_all(self) -> None:
        with self._lock:
            dead, self._dead = self._dead, set()
            retired, self._retired = self._retired, False
        self._networks.firewall.unguard(dead)
        grave = self._networks.group + 1
        with kernel("removing links"):
            rtnetlink.delete_links(self._networks.channel, dead, grave, others=retired)
        self._made -= dead

    def _delete(self, names: set[str]) -> None:
        rtnetlink.delete_links(self._networks.channel, names, self._networks.group + 1)
