"""Runs in a container of a test in the place of testcontainers' Ryuk, with the engine's socket mounted: on port 8080 it takes
filters (`label=KEY=VALUE`, a line each), and when the client has gone it removes the containers that they name."""

import http.client
import json
import socket
import urllib.parse
from contextlib import suppress


class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

    def ask(self, method, path):
        self.request(method, path)
        return self.getresponse().read()


def reap(label):
    engine = Engine("localhost")
    filters = urllib.parse.quote(json.dumps({"label": [label]}))
    for container in json.loads(engine.ask("GET", f"/containers/json?all=1&filters={filters}")):
        engine.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        print("removed", container["Names"][0], flush=True)


def main():
    server = socket.create_server(("", 8080))
    print("Reaper Started!", flush=True)
    client, _ = server.accept()
    labels = []
    with client, suppress(ConnectionResetError):  # it went with our ACK unread
        for line in client.makefile():
            labels.append(line.strip().removeprefix("label="))
            client.sendall(b"ACK\n")
    for label in labels:
        reap(label)


if __name__ == "__main__":
    main()
