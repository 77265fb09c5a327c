"""Whether and how a TCP connection is protected: the `--tls*` flags, and docker's variables for them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from barque.cli.flags import Values

__all__ = ["Tls", "TlsFlags"]


class Tls:
    """Files (empty: none) in PEM. `verify`: the daemon's certificate must be for its host name and signed by `ca`, or
    without `ca` by an authority that this machine trusts."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, *, verify: bool, ca: str = "", cert: str = "", key: str = "") -> None:
        self.verify = verify
        self.ca = ca
        self.cert = cert
        self.key = key


class TlsFlags:
    """What the command line says of TLS; None and empty: nothing."""

    __slots__ = ("ca", "cert", "key", "tls", "verify")

    def __init__(self, values: Values | None = None) -> None:
        self.tls = values.flag("tls") if values and values.given("tls") else None
        self.verify = values.flag("tlsverify") if values and values.given("tlsverify") else None
        self.ca, self.cert, self.key = (
            values.text(name) if values else "" for name in ("tlscacert", "tlscert", "tlskey")
        )

    @property
    def plain(self) -> bool:
        """Whether TLS is refused by name (`--tls=false`)."""
        return self.tls is False and not self.verify

    def settings(self, environ: Mapping[str, str]) -> Tls | None:
        """How to protect a connection, None: not at all. Flags count more than variables; files that nobody named
        need not exist."""
        verify = bool(_variable(environ, "TLS_VERIFY")) if self.verify is None else self.verify
        wanted = verify or (bool(_variable(environ, "TLS")) if self.tls is None else self.tls)
        if not wanted or self.plain:
            return None
        directory = (
            _variable(environ, "CERT_PATH") or environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        )
        ca, cert, key = (
            given or _existing(os.path.join(directory, name))
            for given, name in ((self.ca, "ca.pem"), (self.cert, "cert.pem"), (self.key, "key.pem"))
        )
        return Tls(verify=verify, ca=ca, cert=cert, key=key)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"BARQUE_{name}") or environ.get(f"DOCKER_{name}") or ""


def _existing(path: str) -> str:
    return path if os.path.exists(path) else ""
