from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.network import PortBinding
from barque_net_bridge.ports import HostPorts


@pytest.fixture
def ports() -> Iterator[HostPorts]:
    ports = HostPorts()
    yield ports
    ports.close()


def loopback(protocol: str = "tcp", port: int = 0) -> PortBinding:
    return PortBinding(80, protocol, "127.0.0.1", port)


def test_chosen_port_is_told_and_kept(ports: HostPorts) -> None:
    (chosen,) = ports.reserve("a", (loopback(),))
    assert chosen.host_port > 1024
    assert (chosen.host_ip, chosen.container_port) == ("127.0.0.1", 80)
    with pytest.raises(Conflict, match="port is already allocated") as caught:
        ports.reserve("b", (chosen,))
    assert f"on endpoint b: Bind for 127.0.0.1:{chosen.host_port} failed" in caught.value.message
    assert "ss -ltnp" in caught.value.hint
    ports.release("a")
    ports.release("a")
    assert ports.reserve("b", (chosen,)) == (chosen,)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_no_program_of_the_host_can_have_it(ports: HostPorts, protocol: str) -> None:
    (chosen,) = ports.reserve("a", (loopback(protocol),))
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as other:
        if protocol == "tcp":
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", chosen.host_port))


def test_all_or_none(ports: HostPorts) -> None:
    (taken,) = ports.reserve("a", (loopback(),))
    (free,) = ports.reserve("b", (loopback(),))
    ports.release("b")
    with pytest.raises(Conflict):
        ports.reserve("c", (free, taken))
    assert ports.reserve("d", (free,)) == (free,)


def test_protocols_do_not_share_numbers(ports: HostPorts) -> None:
    (tcp,) = ports.reserve("a", (loopback(),))
    assert ports.reserve("b", (loopback("udp", tcp.host_port),))


def test_any_address_conflicts_with_a_special_one(ports: HostPorts) -> None:
    (chosen,) = ports.reserve("a", (PortBinding(80),))
    assert chosen.host_ip == "0.0.0.0"
    with pytest.raises(Conflict):
        ports.reserve("b", (loopback(port=chosen.host_port),))


def test_port_can_be_had_again_while_connections_linger(ports: HostPorts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # this side ends it, so this side has it in TIME_WAIT
    assert ports.reserve("a", (loopback(port=port),))


def test_nothing_is_answered(ports: HostPorts) -> None:
    (chosen,) = ports.reserve("a", (loopback(),))
    with socket.socket() as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):  # and not refused: the client tries again
            client.connect(("127.0.0.1", chosen.host_port))


def test_restore_goes_on_without_a_port_that_is_lost(
    ports: HostPorts, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        lost = loopback(port=server.getsockname()[1])
        (free,) = ports.reserve("x", (loopback("udp"),))
        ports.release("x")
        ports.restore("a", (lost, free))
    assert "address already in use" in caplog.text
    with pytest.raises(Conflict):
        ports.reserve("b", (free,))


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (PortBinding(80, "icmp"), "protocol"),
        (PortBinding(0), "port"),
        (PortBinding(70000), "port"),
        (PortBinding(80, host_port=70000), "port"),
        (PortBinding(80, host_port=-1), "port"),
        (PortBinding(80, host_ip="::1"), "host address"),
        (PortBinding(80, host_ip="fe80::1%eth0"), "host address"),
        (PortBinding(80, host_port=9, host_port_last=8), "range"),
        (PortBinding(80, host_ip="localhost"), "host address"),
        (PortBinding(80, host_ip="203.0.113.77"), "cannot assign requested address"),
    ],
)
def test_malformed_bindings(ports: HostPorts, binding: PortBinding, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ports.reserve("a", (binding,))
