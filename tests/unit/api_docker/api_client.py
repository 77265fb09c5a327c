"""A client that speaks bytes to a frontend's socket."""

import http.client
import json
import socket


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Requests to the socket `path`."""

    def __init__(self, path):
        self.path = path

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.path)
        return connection

    def call(self, method, target, body=None, headers=None):
        """Status, headers (lower case) and body of one request on a connection of its own."""
        connection = _UnixConnection(self.path)
        headers = dict(headers or {})
        if isinstance(body, dict | list):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            data = response.read()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, data
        finally:
            connection.close()

    def json(self, method, target, body=None, status=200):
        got, _, data = self.call(method, target, body)
        assert got == status, data
        return json.loads(data) if data else None

    def message(self, method, target, body=None, status=400):
        return self.json(method, target, body, status)["message"]

    def create(self, *command, name=None, **fields):
        target = "/containers/create" + (f"?name={name}" if name else "")
        return self.json("POST", target, {"Image": "bb:1", "Cmd": list(command), **fields}, 201)["Id"]

    def start(self, *command, **fields):
        id = self.create(*command, **fields)
        assert self.call("POST", f"/containers/{id}/start")[0] == 204
        return id

    def raw(self, data, connection=None):
        """Send bytes, read to the end of the connection."""
        with connection or self.connect() as sock:
            if data:
                sock.sendall(data)
            return read_all(sock)


def read_all(sock):
    got = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


def read_head(sock):
    """Up to and with the empty line, byte by byte: what follows stays in the socket."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, got
        got += byte
    return got
