"""Talks to a Docker API over its socket and keeps what came: for tests that compare or validate the answers."""

import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import quote, unquote


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Answer:
    """One answer, and what was asked."""

    step: str
    method: str
    path: str
    status: int
    headers: dict
    body: bytes = field(repr=False)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        """A stream of JSON documents."""
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]


class Recorder:
    """`ask` sends a request and keeps the answer in `answers`, under the name of its step.

    A step is named by method and path; the second of the same name gets ` (2)`. What stands for something in `names` (an id of
    this run) is shown by its name."""

    def __init__(self, sock, version=""):
        self.socket = sock
        self.prefix = f"/v{version}" if version else ""
        self.answers = {}
        self.names = {}

    def ask(self, method, path, body=None, /, *, headers=None, name="", versioned=True, keep=True, **query):
        """`query`: its values are JSON when they are dicts. `body`: bytes as they are, the rest as JSON."""
        target = path + _query(query)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, (self.prefix if versioned else "") + target, body, sent)
            response = connection.getresponse()
            data = response.read()
            given = {key.lower(): value for key, value in response.getheaders()}
        finally:
            connection.close()
        answer = self.keep(name or f"{method} {target}", method, path, response.status, given, data)
        return answer if keep else self.answers.pop(answer.step)

    def keep(self, step, method, path, status, headers, data):
        step = unquote(step)
        for id, name in self.names.items():
            step = step.replace(id, name)
        number, base = 1, step
        while step in self.answers:
            number += 1
            step = f"{base} ({number})"
        answer = self.answers[step] = Answer(step, method, path, status, headers, data)
        return answer

    def hijack(
        self, method, path, body=None, /, *, send=b"", half_close=True, name="", upgrade=True, **query
    ):
        """A request that takes the connection over: the answer's body is all that comes until the end."""
        data = b"" if body is None else json.dumps(body).encode()
        target = path + _query(query)
        head = f"{method} {self.prefix}{target} HTTP/1.1\r\nHost: x\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        if upgrade:
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(self.socket))
            sock.sendall(head.encode() + b"\r\n" + data)
            received = b""
            while b"\r\n\r\n" not in received:
                received += sock.recv(65536)
            if send:
                sock.sendall(send)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            answer, _, rest = received.partition(b"\r\n\r\n")
            status, headers = _parse(answer)
            length = int(headers["content-length"]) if "content-length" in headers else None
            while (length is None or len(rest) < length) and (more := sock.recv(65536)):
                rest += more
        return self.keep(name or f"{method} {target}", method, path, status, headers, rest)

    def until(self, method, path, condition, /, seconds=10.0, **query):
        """Ask again until `condition(answer)`, keeping the last answer only."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask(method, path, **query)
            if condition(answer) or time.monotonic() > deadline:
                return answer
            del self.answers[answer.step]
            time.sleep(0.05)


def _query(query):
    if not query:
        return ""
    texts = {
        key: json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)
        for key, value in query.items()
    }
    return "?" + "&".join(f"{key}={quote(value, safe='/:=,{}[]')}" for key, value in texts.items())


def _parse(head):
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {key.lower(): value.strip() for key, _, value in pairs}
