"""Whether the kernel has a kind of link: tried, in a network namespace that is gone with the thread that made it."""

from __future__ import annotations

import ctypes
import os
import threading

from barque_net_macvlan import links
from barque_net_macvlan.netlink import Channel
from barque_net_macvlan.options import Kind

__all__ = ["lacks"]

_CLONE_NEWNET = 0x40000000
_PARENT, _LINK = "probe0", "probe1"


def lacks(kind: Kind) -> str:
    """What is missing, "" when nothing is."""
    problems: list[str] = []

    def attempt() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            problems.append(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
            return
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _make(kind, netns)
        except OSError as error:
            problems.append(f"the kernel makes no {kind.name} links: {error.strerror}")
        finally:
            os.close(netns)

    thread = threading.Thread(target=attempt, name="macvlan-probe", daemon=True)
    thread.start()
    thread.join()
    return problems[0] if problems else ""


def _make(kind: Kind, netns: int) -> None:
    with Channel() as channel:
        links.add_dummy(channel, _PARENT, "")
        parent = links.find(channel, _PARENT)
        info = kind.info(kind.mode({}))
        links.add_slave(channel, _LINK, kind.name, info, parent.index if parent else 0, b"", netns)
