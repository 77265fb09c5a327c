"""DNS messages (RFC 1035, RFC 6891): questions taken apart, answers put together. Every byte comes from a container or the net."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "AAAA",
    "ANY",
    "FORMERR",
    "HEADER_SIZE",
    "IN",
    "NOERROR",
    "NOTIMP",
    "PTR",
    "REFUSED",
    "SERVFAIL",
    "A",
    "Malformed",
    "Question",
    "Record",
    "answer",
    "answers_to",
    "encode_name",
    "parse",
    "refusal",
    "shortened",
]

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NOTIMP, REFUSED = 0, 1, 2, 4, 5
HEADER_SIZE = 12
SMALLEST_LIMIT = 512

_HEADER = struct.Struct(">HHHHHH")
_TYPE_CLASS = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_TTL = 600
_OUR_SIZE = 4096
_MAX_NAME = 255
_MAX_RECORDS = 32
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Malformed(Exception):
    """Not a query that can be answered but with FORMERR; with `silent` not even that (an answer, or less than a header)."""

    def __init__(self, silent: bool = False) -> None:
        super().__init__("malformed DNS message")
        self.silent = silent


class Record(NamedTuple):
    """An answer to the question's own name."""

    type: int
    data: bytes


class Question(NamedTuple):
    """A query. `name` is lower case without the last dot; `section` the question as it came, to be repeated in answers.
    `limit`: bytes a UDP answer may have; `edns`: it told that by an OPT record, and wants one back."""

    id: int
    flags: int
    name: str
    type: int
    cls: int
    section: bytes
    limit: int
    edns: bool

    @property
    def standard(self) -> bool:
        """Whether it is a plain QUERY."""
        return not self.flags & _OPCODE


def parse(data: bytes) -> Question:
    """The one question of a query. Time and memory are bounded by the message's length. Raises Malformed."""
    if len(data) < HEADER_SIZE:
        raise Malformed(silent=True)
    id, flags, questions, *others = _HEADER.unpack_from(data)
    if flags & _QR:
        raise Malformed(silent=True)
    if questions != 1:
        raise Malformed
    name, end = _plain_name(data)
    kind, cls = _TYPE_CLASS.unpack_from(data, end)
    section = data[HEADER_SIZE : end + 4]
    size = _edns_size(data, end + 4, sum(others))
    limit = SMALLEST_LIMIT if size is None else min(max(size, SMALLEST_LIMIT), _OUR_SIZE)
    return Question(id, flags, name, kind, cls, section, limit, size is not None)


def _plain_name(data: bytes) -> tuple[str, int]:
    """The question's name, which is never compressed, and where its type begins."""
    labels: list[str] = []
    place = HEADER_SIZE
    while True:
        length = data[place] if place < len(data) else 64
        if length > 63:
            raise Malformed
        place += 1
        if not length:
            break
        labels.append(data[place : place + length].decode("latin-1"))
        place += length
    if place - HEADER_SIZE > _MAX_NAME or place + 4 > len(data):
        raise Malformed
    return ".".join(labels).lower(), place


def _edns_size(data: bytes, place: int, records: int) -> int | None:
    """The payload size that an OPT record tells; None when there is none."""
    if records > _MAX_RECORDS:
        raise Malformed
    for _ in range(records):
        place = _after_name(data, place)
        if place + _RECORD.size > len(data):
            raise Malformed
        kind, size, _ttl, length = _RECORD.unpack_from(data, place)
        if kind == OPT:
            return int(size)
        place += _RECORD.size + length
    return None


def _after_name(data: bytes, place: int) -> int:
    """Behind the name at `place`; a compressed one ends with its pointer, which need not be followed."""
    start = place
    while place < len(data) and place - start <= _MAX_NAME:
        length = data[place]
        if length >= 0xC0:
            return place + 2
        place += 1 + length
        if not length:
            return place
    raise Malformed


def encode_name(name: str) -> bytes:
    """A name as labels; b"" for one that cannot be in a message (a label that is empty or over 63 bytes)."""
    labels = [label.encode("utf-8", "replace") for label in name.split(".")]
    if any(not 0 < len(label) < 64 for label in labels):
        return b""
    encoded = b"".join(b"%c%b" % (len(label), label) for label in labels) + b"\0"
    return encoded if len(encoded) <= _MAX_NAME else b""


def answer(question: Question, records: Sequence[Record], limit: int, code: int = NOERROR) -> bytes:
    """Our own answer; without its records, and marked as cut, where it is longer than `limit`."""
    flags = _QR | _AA | _RA | (question.flags & (_RD | _OPCODE)) | code
    found = b"".join(
        _POINTER_TO_QUESTION + _RECORD.pack(r.type, IN, _TTL, len(r.data)) + r.data for r in records
    )
    opt = b"\0" + _RECORD.pack(OPT, _OUR_SIZE, 0, 0) if question.edns else b""
    extra = 1 if question.edns else 0
    whole = HEADER_SIZE + len(question.section) + len(found) + len(opt)
    count = len(records)
    if whole > limit:
        flags, found, count = flags | _TC, b"", 0
    return _HEADER.pack(question.id, flags, 1, count, 0, extra) + question.section + found + opt


def refusal(data: bytes, code: int) -> bytes:
    """An answer without question and records, to a message that has at least a header."""
    id, flags = _TYPE_CLASS.unpack_from(data)
    return _HEADER.pack(id, _QR | _RA | (flags & (_RD | _OPCODE)) | code, 0, 0, 0, 0)


def answers_to(data: bytes, id: int, question: Question) -> int:
    """The response code of `data` when it is an answer to `question` asked under `id`, else -1."""
    if len(data) < HEADER_SIZE + len(question.section):
        return -1
    got, flags, questions, *_ = _HEADER.unpack_from(data)
    section = data[HEADER_SIZE : HEADER_SIZE + len(question.section)]
    if got != id or not flags & _QR or questions != 1 or section.lower() != question.section.lower():
        return -1
    return int(flags & 0xF)


def shortened(data: bytes, question: Question) -> bytes:
    """A server's answer that is too long for the client's UDP: the header and the question, marked as cut."""
    _, flags, *_ = _HEADER.unpack_from(data)
    return _HEADER.pack(question.id, flags | _TC, 1, 0, 0, 0) + question.section
