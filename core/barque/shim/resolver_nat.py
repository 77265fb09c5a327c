"""An nftables table that translates one port, by raw netlink: `nft` need not be installed, and starting it would take longer.

What is sent is what `nft -f` sends for

    table ip barque-resolver {
      chain output {
        type nat hook output priority dstnat
        ip daddr ADDRESS udp dport PORT dnat to ADDRESS:UDP
        ip daddr ADDRESS tcp dport PORT dnat to ADDRESS:TCP
      }
    }

(linux/netfilter/nf_tables.h). Conntrack translates the answers back.
"""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["TABLE", "translate"]

TABLE = b"barque-resolver\0"
_CHAIN = b"output\0"

_NETLINK_NETFILTER = 12
_NFPROTO_IPV4 = 2
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYSTEM = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 2, 3, 6
_NLMSG_ERROR = 2
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED = 0x8000
_NF_INET_LOCAL_OUT, _PRIORITY_DSTNAT = 3, -100
_REG_1, _REG_2 = 1, 2
_META_L4PROTO = 16
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_RANGE_SPECIFIED = 3  # NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED

_HEADER = struct.Struct("=IHHII")
_TIMEOUT = struct.pack("ll", 10, 0)


def translate(address: str, port: int, udp: int, tcp: int) -> None:
    """Send what goes from this namespace to `port` of `address` to the ports `udp` and `tcp` there. Idempotent. Raises OSError."""
    target = socket.inet_aton(address)
    rules = ((socket.IPPROTO_UDP, udp), (socket.IPPROTO_TCP, tcp))
    _transact(
        (_NEWTABLE, _CREATE, _attribute(1, TABLE)),
        (_DELTABLE, 0, _attribute(1, TABLE)),
        (_NEWTABLE, _CREATE, _attribute(1, TABLE)),
        (_NEWCHAIN, _CREATE, _chain()),
        *((_NEWRULE, _CREATE | _APPEND, _rule(protocol, target, port, to)) for protocol, to in rules),
    )


def _chain() -> bytes:
    hook = _nested(4, _number(1, _NF_INET_LOCAL_OUT), _number(2, _PRIORITY_DSTNAT))
    return _attribute(1, TABLE) + _attribute(3, _CHAIN) + hook + _attribute(7, b"nat\0")


def _rule(protocol: int, target: bytes, port: int, to: int) -> bytes:
    expressions = (
        _expression(b"meta", _number(1, _REG_1), _number(2, _META_L4PROTO)),
        _equals(bytes([protocol])),
        _load(_NETWORK_HEADER, 16, 4),
        _equals(target),
        _load(_TRANSPORT_HEADER, 2, 2),
        _equals(port.to_bytes(2, "big")),
        _expression(b"immediate", _number(1, _REG_1), _nested(2, _attribute(1, target))),
        _expression(b"immediate", _number(1, _REG_2), _nested(2, _attribute(1, to.to_bytes(2, "big")))),
        _expression(
            b"nat",
            _number(1, 1),  # NFT_NAT_DNAT
            _number(2, _NFPROTO_IPV4),
            _number(3, _REG_1),
            _number(5, _REG_2),
            _number(7, _RANGE_SPECIFIED),
        ),
    )
    return _attribute(1, TABLE) + _attribute(2, _CHAIN) + _nested(4, *expressions)


def _load(base: int, offset: int, length: int) -> bytes:
    return _expression(
        b"payload", _number(1, _REG_1), _number(2, base), _number(3, offset), _number(4, length)
    )


def _equals(value: bytes) -> bytes:
    return _expression(b"cmp", _number(1, _REG_1), _number(2, 0), _nested(3, _attribute(1, value)))


def _expression(name: bytes, *attributes: bytes) -> bytes:
    return _nested(1, _attribute(1, name + b"\0"), _nested(2, *attributes))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, value.to_bytes(4, "big", signed=value < 0))


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _transact(*requests: tuple[int, int, bytes]) -> None:
    """Send one transaction, done whole or not at all, and wait for the last request's acknowledgement, or the first refusal."""
    edge = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
    messages = [_message(_BATCH_BEGIN, 0, 0, edge)]
    for sequence, (kind, flags, payload) in enumerate(requests, 1):
        header = struct.pack(">BBH", _NFPROTO_IPV4, 0, 0)
        messages.append(_message((_SUBSYSTEM << 8) | kind, flags | _ACK, sequence, header + payload))
    messages.append(_message(_BATCH_END, 0, 0, edge))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        sock.bind((0, 0))
        sock.send(b"".join(messages))
        acknowledged = 0
        while acknowledged < len(requests):
            acknowledged = max(acknowledged, _acknowledged(sock.recv(65536)))


def _message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags | _REQUEST, sequence, 0) + payload


def _acknowledged(datagram: bytes) -> int:
    """The highest sequence number that is acknowledged. Raises the kernel's error."""
    place = highest = 0
    while place + _HEADER.size + 4 <= len(datagram):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(datagram, place)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", datagram, place + _HEADER.size)[0]
            if code:
                raise OSError(code, f"netfilter: {os.strerror(code)}")
            highest = max(highest, sequence)
        place += max(_HEADER.size, (length + 3) & ~3)
    return highest
