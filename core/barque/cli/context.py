"""What a command is given: the global flags, and the client they lead to."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from barque.cli.addressing import choose, context_name
from barque.cli.client import Client
from barque.cli.errors import DaemonUnavailable
from barque.cli.host import Address, default_socket, dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.tls_settings import TlsFlags

__all__ = ["Context"]


class Context:
    """The global flags and the environment of one call of `barque`."""

    def __init__(
        self,
        host: str = "",
        profile: str = "",
        environ: Mapping[str, str] | None = None,
        *,
        context: str = "",
        tls: TlsFlags | None = None,
        may_start: bool = True,
        patience: float | None = None,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self.profile = profile or self.environ.get("BARQUE_PROFILE", "")
        self._host = host
        self._context = context
        self._tls = tls
        self._may_start = may_start
        self._patience = patience
        self._address: Address | None = None
        self._client: Client | None = None

    @property
    def address(self) -> Address:
        """The daemon's address. Raises CliError when what names it is wrong."""
        if self._address is None:
            self._address = choose(self._host, self.environ, context=self._context, tls=self._tls)
        return self._address

    @property
    def name(self) -> str:
        """The name of the context in use: `default` where an address or nothing was said."""
        return self._context or ("default" if self._host else context_name(self.environ))

    @property
    def client(self) -> Client:
        """The client; nothing is sent before the first request."""
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def new_client(self) -> Client:
        """A client of its own, for another thread."""
        return Client(self.dial, self.address.host or "barque")

    def close(self) -> None:
        """Let go of the daemon."""
        if self._client is not None:
            self._client.close()

    def dial(self) -> socket.socket:
        """A new connection to the daemon, which is started if it is ours to start. Raises DaemonUnavailable."""
        try:
            sock = dial(self.address, self._patience)
            if self._patience is not None:
                sock.settimeout(self._patience)
            return sock
        except DaemonUnavailable as error:
            absent = isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)
            ours = self.address.scheme == "unix" and self.address.path == default_socket(self.environ)
            if not (absent and ours and self._may_start):
                raise
        from barque.cli.autostart import start_daemon

        return start_daemon(self.address, self.profile)
