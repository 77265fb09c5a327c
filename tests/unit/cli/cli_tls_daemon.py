"""The fake daemon behind TLS on loopback, and certificates for it made by openssl(1)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from cli_fake_daemon import FakeDaemon


def make_certificates(place: Path, name: str = "lab") -> Path:
    """ca.pem, and what it signs: server-cert.pem for 127.0.0.1, cert.pem and key.pem for a client."""
    place.mkdir()
    _openssl(place, "req", "-x509", "-days", "2", "-subj", f"/CN={name} authority", "-keyout", "ca.key", "-out", "ca.pem", *_KEY,
             "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    for prefix, usage in (("server-", "serverAuth"), ("", "clientAuth")):
        _openssl(
            place,
            "req",
            "-subj",
            f"/CN={prefix}x",
            "-keyout",
            f"{prefix}key.pem",
            "-out",
            "request.pem",
            *_KEY,
        )
        (place / "extensions").write_text(
            f"extendedKeyUsage={usage}\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n"
        )
        _openssl(place, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", "2", "-extfile", "extensions", "-out", f"{prefix}cert.pem")  # fmt: skip
    return place


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(place: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)


class TlsFront:
    """Listens on a port of loopback and has the fake daemon serve what comes, to clients that the authority signed."""

    def __init__(self, daemon: FakeDaemon, certificates: Path) -> None:
        self._daemon = daemon
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates / "server-cert.pem", certificates / "server-key.pem")
        self._context.load_verify_locations(certificates / "ca.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self._daemon._serve(self._context.wrap_socket(connection, server_side=True))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
