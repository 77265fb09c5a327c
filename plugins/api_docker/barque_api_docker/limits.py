"""What a client may take of the daemon."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of the API server; the options of driver `docker` in a profile.

    `max_connections`: connections served at once; one more is answered 503.
    `max_body`: bytes of a JSON request body.
    `head_timeout`: seconds from a request's first byte to the end of its head, and again to the end of its body.
    `first_timeout`: seconds a client may take until it sends its first byte.
    `idle_timeout`: seconds a connection may stay open between two requests.
    `write_timeout`: seconds a client may leave an answer unread (streams are exempt, but for those of containers' files).
    `origins`: web pages (`https://panel.example.org`) whose scripts may ask; everything else in a browser is refused.
    `hosts`: names with dots by which clients on TCP in clear call this daemon; addresses and plain names always pass.
    """

    max_connections: int = 1000
    max_body: int = 4 << 20
    head_timeout: float = 10.0
    idle_timeout: float = 600.0
    write_timeout: float = 60.0
    first_timeout: float = 60.0
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
