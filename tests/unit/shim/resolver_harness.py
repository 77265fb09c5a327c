"""A container's DNS server on a thread, its files, and a fake server that it may ask."""

from __future__ import annotations

import json
import os
import select
import socket
import threading

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset

from barque.shim.loop import Loop
from barque.shim.resolver import Resolver

WAIT = 10


class Serving:
    """A `Resolver` at work on 127.0.0.1 or on `sockets`; `defects` are exceptions that its handlers let through."""

    def __init__(self, directory, *, sockets=None):
        self.directory = directory
        self.defects = []
        self._state = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._stop, self._stopper = os.pipe()
        self.loop = Loop(self.defects.append)
        if sockets is None:
            udp, tcp = _sockets()
            self.port = udp.getsockname()[1]
            sockets = [udp.detach(), tcp.detach(), os.open("/proc/self/ns/net", os.O_RDONLY)]
        self.resolver = Resolver(self.loop, self._state, sockets)
        self._ended = False
        self.loop.watch(self._stop, select.EPOLLIN, self._end)
        self._thread = threading.Thread(target=self.loop.run, args=(lambda: self._ended,))
        self._thread.start()

    def _end(self, _):
        self._ended = True

    def close(self):
        os.write(self._stopper, b"x")
        self._thread.join(WAIT)
        self.resolver.close()
        self.loop.close()
        for fd in (self._state, self._stop, self._stopper):
            os.close(fd)
        assert not self.defects

    def settings(self, networks=(), servers=(), ndots=False):
        """Write resolver.json; `networks` are (name, links)."""
        document = {
            "networks": [
                {"table": str(self.directory / f"{name}.json"), "links": links} for name, links in networks
            ],
            "servers": list(servers),
            "ndots": ndots,
        }
        _replace(self.directory / "resolver.json", document)

    def table(self, name, names, addresses=None):
        _replace(
            self.directory / f"{name}.json", {"name": name, "names": names, "addresses": addresses or {}}
        )

    def ask(self, name, kind="A", *, tcp=False, **fields):
        query = dns.message.make_query(name, kind, **fields)
        function = dns.query.tcp if tcp else dns.query.udp
        return function(query, "127.0.0.1", port=self.port, timeout=WAIT)

    def addresses(self, name, kind="A", **fields):
        """The texts of the answer's records, in order."""
        reply = self.ask(name, kind, **fields)
        return [str(item) for rrset in reply.answer for item in rrset]


def _replace(path, document):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document))
    os.replace(new, path)


def _sockets():
    for _ in range(20):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(8)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp
    raise AssertionError("no port is free for both protocols")


class FakeServer:
    """Answers over UDP and TCP with what `reply(query)` gives: a message, bytes, several of them, or None for silence."""

    def __init__(self, reply):
        self._reply = reply
        self.queries = []
        self.sources = []
        self._udp, self._tcp = _sockets()
        self.port = self._udp.getsockname()[1]
        self.entry = ["host", "127.0.0.1", self.port]
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._closing.set()
        for thread in self._threads:
            thread.join(WAIT)
        self._udp.close()
        self._tcp.close()

    def _replies(self, data, source, tcp):
        query = dns.message.from_wire(data)
        self.queries.append(query)
        self.sources.append(source[1])
        found = self._reply(query, tcp)
        for one in found if isinstance(found, list) else [found]:
            if one is not None:
                yield one if isinstance(one, bytes) else one.to_wire(max_size=65535)

    def _serve_udp(self):
        while not self._closing.is_set():
            if select.select([self._udp], [], [], 0.05)[0]:
                data, source = self._udp.recvfrom(65535)
                for reply in self._replies(data, source, False):
                    self._udp.sendto(reply, source)

    def _serve_tcp(self):
        while not self._closing.is_set():
            if select.select([self._tcp], [], [], 0.05)[0]:
                client, source = self._tcp.accept()
                with client:
                    client.settimeout(WAIT)
                    length = int.from_bytes(client.recv(2), "big")
                    for reply in self._replies(client.recv(length), source, True):
                        client.sendall(len(reply).to_bytes(2, "big") + reply)


def answering(*texts, kind="A", code=dns.rcode.NOERROR):
    """A reply for `FakeServer`: these records for any question."""

    def reply(query, tcp):
        response = dns.message.make_response(query)
        response.set_rcode(code)
        if texts:
            response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, *texts))
        return response

    return reply
