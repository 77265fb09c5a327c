"""TLS of each registry: whom to trust, and what to show (`certs_dir`: the layout of Docker's /etc/docker/certs.d)."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from barque.spi.errors import FailedPrecondition
from barque_image_registry.config import RegistryConfig
from barque_image_registry.origin import Origin, PlainHttp

__all__ = ["TlsContexts", "TlsSettings"]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`authorities` are PEM files beside the system's; `certificates` pairs of certificate and key files for the peer."""

    verify: bool
    authorities: tuple[str, ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()


class TlsContexts:
    """Contexts by origin; equal settings share one. Thread-safe."""

    def __init__(self, config: RegistryConfig, plain: PlainHttp) -> None:
        self._config, self._plain = config, plain
        self._lock = threading.Lock()
        self._made: dict[TlsSettings, ssl.SSLContext] = {}

    def of(self, origin: Origin) -> ssl.SSLContext:
        """The context for `origin`. Files are read at first use. Errors: FailedPrecondition names a file that cannot be."""
        settings = self._settings(origin)
        with self._lock:
            if settings not in self._made:
                self._made[settings] = _context(settings)
            return self._made[settings]

    def _settings(self, origin: Origin) -> TlsSettings:
        options = self._config.host(origin)
        authorities = [file for file in (self._config.ca_file, options.ca_file) if file]
        certificates = [(options.client_cert, options.client_key)] if options.client_cert else []
        for directory in self._directories(origin):
            authorities += sorted(map(str, directory.glob("*.crt")))
            certificates += [
                (str(cert), str(cert.with_suffix(".key"))) for cert in sorted(directory.glob("*.cert"))
            ]
        verify = not self._plain.is_listed(origin.host, origin.port)
        return TlsSettings(verify, tuple(authorities), tuple(certificates))

    def _directories(self, origin: Origin) -> list[Path]:
        """`HOST:PORT`, and `HOST` alone for the port of https."""
        if not self._config.certs_dir:
            return []
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        names = [f"{host}:{origin.port}", *([host] if origin.port == 443 else [])]
        if origin.host == "registry-1.docker.io":
            names.append("docker.io")
        return [Path(self._config.certs_dir, name) for name in names]


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for file in settings.authorities:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(file, error) from error
    for certificate, key in settings.certificates:
        try:
            # A key with a passphrase would make OpenSSL ask on the daemon's terminal.
            context.load_cert_chain(certificate, key or None, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable(certificate, error) from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(file: str, error: Exception) -> FailedPrecondition:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return FailedPrecondition(
        f"the registry's certificate file {file} cannot be used: {reason}", hint="correct it in the profile"
    )
