"""The bench of the network kit: a fresh host on a LAN, containers that are mere namespaces, a daemon that can be killed."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkSpec,
    PortBinding,
)
from barque.testing.lan import Lan, inside, namespace

__all__ = ["HOST_LINKS", "Attached", "NetworkLab"]

HOST_LINKS = {"lo", "lan0"}  # of a fresh host, see `barque.testing.lan.Lan`

_FDS_PER_MESSAGE = 32


@dataclass(frozen=True, slots=True)
class Attached:
    """An endpoint, and the sandbox it is in (a descriptor; None for drivers without a sandbox)."""

    endpoint: Endpoint
    netns: int | None

    @property
    def address(self) -> str:
        """The endpoint's IPv4 address, without the prefix length."""
        return self.endpoint.ipv4.split("/")[0]

    @property
    def address6(self) -> str:
        """The endpoint's IPv6 address, without the prefix length."""
        return self.endpoint.ipv6.split("/")[0]


class NetworkLab:
    """Calls a driver as the engine does, and owns the sandboxes. `close` detaches, removes and closes everything."""

    def __init__(self, wire: Lan, factory: Callable[[], Any]) -> None:
        self.wire = wire
        self.factory = factory
        self.driver: Any = factory()
        self._cleanup = ExitStack()
        self._count = 0

    @property
    def capabilities(self) -> frozenset[NetworkCapability]:
        """The driver's."""
        return frozenset(self.driver.capabilities)

    def network(self, name: str = "bridge", **fields: Any) -> NetworkSpec:
        """Create a network, which is removed at the end."""
        spec = NetworkSpec(id=name.encode().hex().ljust(64, "0")[:64], name=name, **fields)
        created: NetworkSpec = self.driver.network_create(spec)
        self._cleanup.callback(self._remove, created)
        return created

    def spec(self, network: NetworkSpec, **fields: Any) -> EndpointSpec:
        """The spec of a new endpoint."""
        self._count += 1
        return EndpointSpec(
            id=f"{self._count:064x}", network=network, container_id=f"{self._count:064d}", **fields
        )

    def attach(self, network: NetworkSpec, netns: int | None = None, **fields: Any) -> Attached:
        """Attach a new endpoint, in `netns` or in a sandbox as the driver's capabilities want it."""
        return self.attach_spec(self.spec(network, **fields), netns)

    def attach_spec(self, spec: EndpointSpec, netns: int | None = None) -> Attached:
        """Attach this endpoint. It is detached, and its sandbox closed, at the end."""
        own = {NetworkCapability.OWN_SANDBOX, NetworkCapability.HOST_NAMESPACE}
        if netns is None and not own & self.capabilities:
            netns = self.sandbox()
        attachment: Attachment = self.driver.network_attach(spec, netns)
        return self.adopt(attachment, netns)

    def sandbox(self) -> int:
        """A new network namespace, closed at the end."""
        return self._cleanup.enter_context(namespace())

    def detach(self, attached: Attached, *, live: bool = False) -> None:
        """Detach an endpoint: of a container that ended, or (`live`) of one that goes on running."""
        self.driver.network_detach(attached.endpoint, attached.netns if live else None)

    def crash(
        self, names: list[str], each: int, *, ipv6: bool = False, **fields: Any
    ) -> tuple[list[NetworkSpec], list[Attached]]:
        """A daemon with these networks and `each` endpoints in every one of them, killed; containers live on.

        Call it before anything else: the process forks. Then a driver that knows nothing takes its place.
        """
        self.driver.network_close()
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()
            self._serve_until_killed(theirs, names, each, ipv6, fields)
        theirs.close()
        with ours:
            networks, attached = self._receive(ours)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self.driver = self.factory()
        self._count = len(names) * each
        for network in networks:
            self._cleanup.callback(self._remove, network)
        return networks, [self.adopt(attachment, netns) for attachment, netns in attached]

    def update(
        self, attached: Attached, *, default_route: bool, ports: tuple[PortBinding, ...] = ()
    ) -> Attached:
        """Make a live endpoint the way out, or no longer. The caller's `attached` is out of date then."""
        assert attached.netns is not None
        endpoint = self.driver.network_update(attached.endpoint, attached.netns, default_route, ports)
        return replace(attached, endpoint=endpoint)

    def links(self, netns: int | None = None) -> set[str]:
        """The names of the interfaces in a namespace."""
        lines = self.run(netns, "ip", "-o", "link", "show").splitlines()
        return {line.split(": ")[1].split("@")[0] for line in lines}

    def links_soon(self, expected: set[str], netns: int | None = None) -> set[str]:
        """The interfaces, after at most three seconds of waiting for them to be the expected ones."""
        deadline = time.monotonic() + 3
        while (found := self.links(netns)) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def settled_links(self) -> set[str]:
        """The host's interfaces, once they stay the same: a driver may prepare some in the background."""
        found: set[str] = set()
        while found != (now := self.links()):
            found = now
            time.sleep(0.3)
        return found

    def run(self, netns: int | None, *command: str) -> str:
        """The output of a command in a namespace."""
        return inside(
            netns,
            lambda: subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout,
        )

    def close(self) -> None:
        """Undo everything."""
        self._cleanup.close()
        self.driver.network_close()

    def adopt(self, attachment: Attachment, netns: int | None = None) -> Attached:
        """Own what an attach gave: it is detached, and its sandbox closed, at the end."""
        sandbox = netns
        if attachment.netns is not None:
            sandbox = attachment.netns
            self._cleanup.callback(os.close, sandbox)
        self._cleanup.callback(self._detach, attachment.endpoint)
        return Attached(attachment.endpoint, sandbox)

    # The driver may be another one by the time of the cleanup.

    def _remove(self, network: NetworkSpec) -> None:
        self.driver.network_remove(network)

    def _detach(self, endpoint: Endpoint) -> None:
        self.driver.network_detach(endpoint, None)

    def _serve_until_killed(
        self, channel: socket.socket, names: list[str], each: int, ipv6: bool, fields: dict[str, Any]
    ) -> None:
        """The life of the other daemon: it never returns."""
        try:
            self.driver = self.factory()
            networks = [self.network(name, ipv6=ipv6) for name in names]
            attached = [self.attach(network, **fields) for network in networks for _ in range(each)]
            document = pickle.dumps((networks, [one.endpoint for one in attached]))
            sandboxes = [one.netns for one in attached if one.netns is not None]
            channel.sendall(len(document).to_bytes(4, "big") + document)
            for start in range(0, len(sandboxes), _FDS_PER_MESSAGE):
                socket.send_fds(channel, [b"f"], sandboxes[start : start + _FDS_PER_MESSAGE])
            signal.pause()
        finally:
            os._exit(1)

    def _receive(
        self, channel: socket.socket
    ) -> tuple[list[NetworkSpec], list[tuple[Attachment, int | None]]]:
        size = int.from_bytes(channel.recv(4, socket.MSG_WAITALL), "big")
        networks, endpoints = pickle.loads(channel.recv(size, socket.MSG_WAITALL))
        attached: list[tuple[Attachment, int | None]] = []
        sandboxes: list[int] = []
        while any(endpoint.interface for endpoint in endpoints) and len(sandboxes) < len(endpoints):
            sandboxes += socket.recv_fds(channel, 1, _FDS_PER_MESSAGE)[1]
        for number, endpoint in enumerate(endpoints):
            netns = sandboxes[number] if sandboxes else None
            attached.append((Attachment(endpoint, netns), None))
        return networks, attached
