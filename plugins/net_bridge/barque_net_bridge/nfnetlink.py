"""What is read of nftables by raw netlink: the generation, change events, forward chains (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from barque_net_bridge.netlink import (
    NLM_F_DUMP,
    Message,
    NetlinkError,
    NetlinkSocket,
    Request,
    attributes,
    text,
)

__all__ = [
    "NFNLGRP_NFTABLES",
    "Deleted",
    "Generation",
    "drops_forwarding",
    "event",
    "generation",
    "has_table",
]

NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_NEWGEN, NFT_MSG_GETGEN = 1, 4, 15, 16
_DELETIONS = {2, 5, 8, 11, 14}  # DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM
NFTA_TABLE = 1  # the table's name is attribute 1 of tables, chains, rules, sets and elements alike
NFTA_GEN_ID = 1
NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY = 4, 5
NFTA_HOOK_HOOKNUM = 1
NF_INET_FORWARD, NF_DROP = 2, 0
NFPROTO_INET, NFPROTO_IPV4, NFPROTO_BRIDGE, NFPROTO_IPV6 = 1, 2, 7, 10
_FAMILIES = {"ip": NFPROTO_IPV4, "ip6": NFPROTO_IPV6, "bridge": NFPROTO_BRIDGE}

_GENMSG = struct.Struct("=BBH")  # family, version, resource id
_BE32 = struct.Struct(">I")


class Deleted(NamedTuple):
    """Something of this table was deleted, in a transaction whose generation follows."""

    table: str


class Generation(NamedTuple):
    """A transaction ended; the ruleset now has this generation."""

    id: int


def _type(message: int) -> int:
    return (NFNL_SUBSYS_NFTABLES << 8) | message


def event(message: Message) -> Deleted | Generation | None:
    """What a message of the multicast group NFNLGRP_NFTABLES says, None for what does not matter here."""
    kind = message.type & 0xFF
    if message.type >> 8 != NFNL_SUBSYS_NFTABLES or len(message.payload) < _GENMSG.size:
        return None
    if kind == NFT_MSG_NEWGEN:
        return Generation(_generation(message))
    if kind not in _DELETIONS or message.payload[0] not in _FAMILIES.values():
        return None
    name = attributes(message.payload[_GENMSG.size :]).get(NFTA_TABLE, memoryview(b""))
    return Deleted(bytes(name).rstrip(b"\0").decode("utf-8", "replace"))


def generation(channel: NetlinkSocket) -> int:
    """The generation of the namespace's ruleset: every transaction, anybody's, increases it by one."""
    return _generation(channel.get(Request(_type(NFT_MSG_GETGEN), 0, _GENMSG.pack(0, 0, 0))))


def has_table(channel: NetlinkSocket, family: str, name: str) -> bool:
    """Whether there is a table of this name; not where the kernel lacks the family (`ip`, `ip6`, `bridge`)."""
    payload = _GENMSG.pack(_FAMILIES[family], 0, 0) + text(NFTA_TABLE, name)
    try:
        channel.get(Request(_type(NFT_MSG_GETTABLE), 0, payload))
    except NetlinkError as error:
        if error.errno not in (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _generation(message: Message) -> int:
    value = attributes(message.payload[_GENMSG.size :]).get(NFTA_GEN_ID)
    return int(_BE32.unpack(value)[0]) if value is not None else 0


def drops_forwarding(channel: NetlinkSocket) -> list[str]:
    """The tables with a forward chain whose policy is drop: `accept` elsewhere cannot override one."""
    found: list[str] = []
    for message in channel.dump(Request(_type(NFT_MSG_GETCHAIN), NLM_F_DUMP, _GENMSG.pack(0, 0, 0))):
        values = attributes(message.payload[_GENMSG.size :])
        hook, policy = values.get(NFTA_CHAIN_HOOK), values.get(NFTA_CHAIN_POLICY)
        if (
            hook is None
            or policy is None
            or message.payload[0] not in (NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6)
        ):
            continue
        number = attributes(hook).get(NFTA_HOOK_HOOKNUM)
        if number is None or _BE32.unpack(number)[0] != NF_INET_FORWARD or _BE32.unpack(policy)[0] != NF_DROP:
            continue
        found.append(bytes(values[NFTA_TABLE]).rstrip(b"\0").decode("utf-8", "replace"))
    return list(dict.fromkeys(found))
