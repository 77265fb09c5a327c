"""The driver `docker` of kind `frontend`."""

from __future__ import annotations

from typing import ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.frontend import Engine, Listener
from barque_api_docker.limits import Limits
from barque_api_docker.server import Server

__all__ = ["DockerFrontend"]


class DockerFrontend:
    """Serves the engine to Docker's clients, one thread a connection."""

    Config = Limits
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, config: Limits) -> None:
        self.name = name
        self._limits = config
        self._server: Server | None = None

    @hookimpl
    def frontend_probe(self) -> Probe:
        """Needs nothing of the host."""
        return Probe()

    @hookimpl
    def frontend_start(self, engine: Engine, listeners: tuple[Listener, ...]) -> None:
        """Serve `listeners` on threads of our own."""
        self._server = Server(engine, self._limits)
        self._server.start(listeners)

    @hookimpl
    def frontend_stop(self, timeout: float) -> None:
        """Stop accepting; what still runs after `timeout` seconds is cut."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(timeout)
