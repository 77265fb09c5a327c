"""A bridge driver on a fresh host with a LAN peer, and containers on it, for tests with real traffic."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack

from barque.spi.network import Endpoint, EndpointSpec, NetworkSpec, PortBinding
from barque.testing.lan import Lan, inside
from barque_net_bridge.plugin import BridgeConfig, BridgeNetwork


class Rig:
    """A driver on a fresh host with a LAN peer, and containers on it."""

    def __init__(self, wire: Lan, cleanup: ExitStack, config: BridgeConfig | None = None) -> None:
        self.wire = wire
        self.cleanup = cleanup
        self.driver = BridgeNetwork("bridge", config or BridgeConfig())
        cleanup.callback(self.driver.network_close)
        self.bridge = self.network("bridge")
        self.count = 0

    def network(self, name: str, **fields: object) -> NetworkSpec:
        return self.driver.network_create(NetworkSpec(id=(name * 64)[:64], name=name, **fields))  # type: ignore[arg-type]

    def container(
        self, *ports: PortBinding, network: NetworkSpec | None = None, **fields: object
    ) -> tuple[Endpoint, int]:
        self.count += 1
        spec = EndpointSpec(f"{self.count:064x}", network or self.bridge, "c" * 64, ports=ports, **fields)  # type: ignore[arg-type]
        attachment = self.driver.network_attach(spec, None)
        assert attachment.netns is not None
        self.cleanup.callback(os.close, attachment.netns)
        return attachment.endpoint, attachment.netns


def address(endpoint: Endpoint) -> str:
    return endpoint.ipv4.split("/")[0]


def address6(endpoint: Endpoint) -> str:
    return endpoint.ipv6.split("/")[0]


def shell(netns: int | None, *command: str) -> str:
    run = lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: E731
    return inside(netns, run)


def received(listener: socket.socket, timeout: float = 0.3) -> bool:
    """Whether a forged datagram arrives at a socket within `timeout` seconds."""
    listener.settimeout(timeout)
    try:
        return listener.recv(100) == b"forged"
    except TimeoutError:
        return False


def listen_udp(rig: Rig, netns: int | None, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = inside(netns, lambda: socket.socket(family, socket.SOCK_DGRAM))
    rig.cleanup.enter_context(listener)
    listener.bind((host, port))
    return listener


def link_address(interface: str) -> str:
    """The hardware address of an interface of this host. Not from sysfs, which shows the namespace it was mounted in."""
    return shell(None, "ip", "-o", "link", "show", interface).split("link/ether ")[1].split()[0]
