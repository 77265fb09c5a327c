"""Any bytes in place of a query or an answer are parsed or refused, in bounded time (row R41)."""

from __future__ import annotations

import os
import random
import time

import dns.message
import dns.rrset
import pytest

from barque.shim.resolver_names import reverse_address
from barque.shim.resolver_wire import (
    Malformed,
    Record,
    answer,
    answers_to,
    encode_name,
    parse,
    refusal,
    shortened,
)

ROUNDS = int(os.environ.get("BARQUE_FUZZ_ROUNDS", "1500"))
SECONDS = 5


def _samples():
    query = dns.message.make_query("www.example.com", "A", use_edns=0, payload=1232)
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text("www.example.com.", 5, "IN", "A", "192.0.2.1", "192.0.2.2"))
    update = bytearray(query.to_wire())
    update[2] |= 5 << 3
    return [
        query.to_wire(),
        response.to_wire(),
        bytes(update),
        b"\xc0\x0c" * 100,
        b"\0\1\1\0\0\1" + b"\0" * 500,
    ]


def _mutated(generator, data):
    data = bytearray(data)
    for _ in range(generator.randrange(6)):
        what, place = generator.randrange(4), generator.randrange(len(data) + 1)
        if what == 0:
            del data[place : place + generator.randrange(20)]
        elif what == 1:
            data[place:place] = generator.randbytes(generator.randrange(1, 20))
        elif what == 2:
            data[place:place] = data[: generator.randrange(64)]
        elif place < len(data):
            data[place] = generator.choice((0, 0x3F, 0x40, 0xC0, 0xFF, generator.randrange(256)))
    return bytes(data) or b"\0"


@pytest.mark.row("R41")
def test_any_message_is_answered_or_refused():
    generator, samples = random.Random(41), _samples()
    questions = 0
    for _ in range(ROUNDS):
        data = _mutated(generator, generator.choice(samples))
        began = time.monotonic()
        try:
            question = parse(data)
        except Malformed as error:
            refused = b"" if error.silent else refusal(data, 1)
        else:
            refused = b""
            questions += 1
            records = [Record(1, b"\1\2\3\4")] * generator.randrange(100)
            reply = answer(question, records, question.limit)
            assert len(reply) <= max(question.limit, 12 + len(question.section) + 11)
            assert answers_to(reply, question.id, question) == 0
            assert answers_to(data, question.id, question) == -1
            assert len(shortened(reply, question)) <= 12 + 260
            reverse_address(question.name)
            encode_name(question.name)
        assert len(refused) in (0, 12)
        assert time.monotonic() - began < SECONDS
    assert questions > ROUNDS / 20
