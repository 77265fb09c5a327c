"""What this host lacks for the bridge driver."""

from __future__ import annotations

import ctypes
import os
import shutil

from barque.spi import Probe, Problem
from barque_net_bridge import nfnetlink
from barque_net_bridge.netlink import NETLINK_NETFILTER, NetlinkSocket
from barque_net_bridge.nft import LIBRARY, REMEDY

__all__ = ["probe"]

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21


def probe(table: str) -> Probe:
    """What is missing or in the way, and how nftables is spoken to. Changes nothing, never raises."""
    problems: list[Problem] = []
    way = _way_to_nftables()
    if not way:
        problems.append(Problem(f"neither {LIBRARY} nor the nft program was found", REMEDY))
    if not _capable(CAP_NET_ADMIN) or not _capable(CAP_SYS_ADMIN):
        problems.append(Problem("no CAP_NET_ADMIN or CAP_SYS_ADMIN", "run the daemon as root"))
    problems += _firewall(table)
    return Probe(tuple(problems), {"nftables": way or "none"})


def _way_to_nftables() -> str:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return shutil.which("nft") or ""
    return LIBRARY


def _capable(capability: int) -> bool:
    try:
        with open("/proc/thread-self/status", encoding="ascii", errors="replace") as status:
            effective = next(line for line in status if line.startswith("CapEff:"))
        return bool(int(effective.split()[1], 16) >> capability & 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return os.geteuid() == 0


def _firewall(table: str) -> list[Problem]:
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as channel:
            others = [name for name in nfnetlink.drops_forwarding(channel) if name != table]
    except OSError as error:
        return [Problem(f"the kernel's nftables do not answer: {error.strerror}", "enable CONFIG_NF_TABLES")]
    return [
        Problem(
            f"the forward chain of nftables table {name} has policy drop, which stops containers' traffic too",
            "let the bridges through there, with Docker: iptables -I DOCKER-USER -i barque0 -j ACCEPT;"
            " iptables -I DOCKER-USER -o barque0 -j ACCEPT",
            fatal=False,
        )
        for name in others
    ]
