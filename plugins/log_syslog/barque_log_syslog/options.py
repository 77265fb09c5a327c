"""`--log-opt`s of the syslog driver: Docker's names, values and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from barque.spi.errors import InvalidArgument

__all__ = ["Settings", "validated"]

_KNOWN = frozenset(
    {
        "syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key",
        "syslog-tls-skip-verify", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size",
        "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress",
    }
)  # fmt: skip
_FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
).split()
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_PORTS = {"udp": 514, "tcp": 514, "tcp+tls": 6514}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)i?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LOCAL = "/dev/log"
_BUFFER = "1m"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where messages go and what they look like. `scheme`: unixgram, unix, udp, tcp, tcp+tls. `buffer`: bytes that may wait."""

    scheme: str
    host: str
    port: int
    facility: int
    format: str
    waits: bool
    buffer: int
    tls: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Settings:
        """What complete options say; InvalidArgument names the bad one, in Docker's words."""
        scheme, host, port = _address(options.get("syslog-address", ""))
        mode = options.get("mode", "") or "blocking"
        if mode not in ("blocking", "non-blocking"):
            raise InvalidArgument(f"logger: logging mode not supported: {mode}")
        if "max-buffer-size" in options and mode == "blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        if options.get("syslog-format", "") not in _FORMATS:
            raise InvalidArgument("Invalid syslog format", hint="rfc3164, rfc5424 or rfc5424micro")
        return cls(
            scheme,
            host,
            port,
            _facility(options.get("syslog-facility", "")),
            options.get("syslog-format", ""),
            mode == "blocking",
            _size(options.get("max-buffer-size", _BUFFER)),
            {name: value for name, value in options.items() if name.startswith("syslog-tls-")},
        )


def validated(options: Mapping[str, str], driver: str) -> Mapping[str, str]:
    """`options` when all of them can work, else InvalidArgument."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(
                f"unknown log opt '{name}' for {driver} log driver",
                hint=f"known are {', '.join(sorted(_KNOWN))}",
            )
    Settings.of(options)
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise InvalidArgument(f"invalid value for {name}: '{options[name]}': {error}") from error
    return dict(options)


def _address(text: str) -> tuple[str, str, int]:
    if not text:
        return "unixgram", _LOCAL, 0
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise InvalidArgument(f"syslog-address should be in form proto://address, got {text}")
    if scheme in ("unix", "unixgram"):
        if not rest.startswith("/") or len(rest.encode()) > 107:
            raise InvalidArgument(f"invalid syslog-address: {text}", hint="unix:///path/of/a/socket")
        return scheme, rest, 0
    if scheme not in _PORTS:
        raise InvalidArgument(
            f"unsupported protocol family: '{scheme}'", hint="unix, unixgram, udp, tcp, tcp+tls"
        )
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    except ValueError as error:
        raise InvalidArgument(f"invalid syslog-address: {text}: {error}") from None
    if not host:
        raise InvalidArgument(f"invalid syslog-address: {text}", hint=f"{scheme}://host:port")
    return scheme, host, port


def _facility(text: str) -> int:
    if not text:
        return 3
    if text in _FACILITIES and text != "-":
        return _FACILITIES.index(text)
    if text.isascii() and text.isdigit() and int(text[:4]) < len(_FACILITIES):
        return int(text)
    raise InvalidArgument("invalid syslog facility", hint="daemon, user, local0 to local7 …, or 0 to 23")


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * 1024 ** _POWER[match[2].lower()]) if match else 0
    if size <= 0:
        raise InvalidArgument(
            f"error parsing option max-buffer-size: invalid size: '{text}'", hint="such as 4m"
        )
    return size
