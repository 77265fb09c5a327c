"""Kind `network`: gives containers interfaces. Entry-point group `barque.network.v1`.

Vocabulary. A *network* is a named set of subnets. A *sandbox* is a network namespace, always passed as
an open file descriptor and never as a path: it lives as long as a process or descriptor holds it, so a crash
leaks nothing. An *endpoint* is one container's interface in one network. The engine keeps networks and
endpoints durably; a driver keeps nothing on disk and learns of them again in `network_restore`.

Lifecycle: create (idempotent, at every start of the daemon) -> restore -> attach … update … detach -> remove -> close.
Hooks run in the daemon, on any thread, several at once.

A driver is a class with a frozen stdlib dataclass `Config`, constructed as `Driver(name, config)`,
with attribute `capabilities: frozenset[NetworkCapability]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from barque.spi.common import Probe
from barque.spi.markers import needs

__all__ = [
    "Attachment",
    "Endpoint",
    "EndpointSpec",
    "NetworkCapability",
    "NetworkHooks",
    "NetworkSpec",
    "PortBinding",
    "Subnet",
]


class NetworkCapability(StrEnum):
    """What a network driver does beyond an interface in a given sandbox."""

    HOST_NAMESPACE = "host-namespace"  # containers share the host's network namespace; attach makes nothing
    OWN_SANDBOX = "own-sandbox"  # attach with netns=None returns a sandbox the driver prepared beforehand
    PORTS = "ports"  # published ports
    IPV6 = "ipv6"
    CREATE = "create"  # users may make networks of it (`docker network create -d`)
    CONNECT = "connect"  # endpoints come and go while the container runs, several in one sandbox


@dataclass(frozen=True, slots=True)
class Subnet:
    """`cidr` (`172.17.0.0/16`, `fd00:1::/64`) and its gateway address (`172.17.0.1`; in a complete spec empty: none). `ip_range`: a part of
    `cidr` that addresses are chosen from (those asked for by name may be outside). `auxiliary`: addresses that are never chosen,
    by a name of the user's. In a spec that is to be completed, `cidr` may be empty where the driver shall choose it."""

    cidr: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network. With no `subnets` of a family it has (`ipv4`, `ipv6`) the driver chooses one in `network_create`. `internal`: no way out."""

    id: str
    name: str
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A published port. `protocol` is tcp, udp or sctp. `host_ip` empty: every address of the host, of both families.
    In a spec, `host_port` 0 asks the driver to choose, and with `host_port_last` to choose from `host_port` to that one; in an endpoint
    it is what was chosen."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_last: int = 0


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint to make. `id` is unique. Empty addresses are the driver's to choose. `options` are the driver's, for this endpoint.
    `default_route`: the container's default route goes through this endpoint."""

    id: str
    network: NetworkSpec
    container_id: str
    interface: str = "eth0"
    mac: str = ""
    ipv4: str = ""
    ipv6: str = ""
    link_local: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    default_route: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that was made. `ipv4` and `ipv6` are with prefix length (`172.17.0.2/16`) or empty.
    `host_interface` is the veth's end on the host, where there is one. `data` is the driver's own, kept for it."""

    id: str
    network_id: str
    container_id: str
    interface: str = ""
    host_interface: str = ""
    mac: str = ""
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    ports: tuple[PortBinding, ...] = ()
    default_route: bool = True
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attachment:
    """The result of attach. `netns` is the sandbox (a descriptor the caller now owns) when the driver
    brought its own, else None."""

    endpoint: Endpoint
    netns: int | None = None


class NetworkHooks:
    """The hooks of kind `network`."""

    def network_probe(self) -> Probe:
        """What this host lacks for the driver. Changes nothing, never raises."""
        raise NotImplementedError

    def network_create(self, spec: NetworkSpec) -> NetworkSpec:
        """Realise the network on this host and return it complete (subnets, gateways chosen).

        Idempotent: for a network that exists it re-asserts links, addresses and firewall rules.
        Errors: InvalidArgument, Conflict (overlapping subnet), ResourceExhausted (no pool left), FailedPrecondition.
        """
        raise NotImplementedError

    def network_remove(self, spec: NetworkSpec) -> None:
        """Undo `network_create`. Idempotent. Pre: no endpoints."""
        raise NotImplementedError

    def network_attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """Make an endpoint in the sandbox `netns` (an open namespace descriptor, the caller's).

        `netns` is None only for drivers with OWN_SANDBOX or HOST_NAMESPACE. Post: the interface is up, has its
        addresses and routes, `lo` is up, ports are published. On error nothing is left.
        Errors: Conflict (`… port is already allocated`, address in use), ResourceExhausted, InvalidArgument.
        """
        raise NotImplementedError

    def network_detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """Release addresses, ports, rules and links of an endpoint. Idempotent; the sandbox may be gone.

        `netns` is the sandbox of a container that goes on running (with CONNECT): when this returns, the interface is gone from it.
        None: the container ended, its sandbox is closed or will be, and what goes with it need not be waited for.
        """
        raise NotImplementedError

    @needs(NetworkCapability.CONNECT)
    def network_update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """Make a live endpoint the container's way out, or no longer: with `default_route` its sandbox's default route goes through it,
        else not; `ports` replace what it publishes. Returns it as it is now. Idempotent. On error it is as it was. Errors: as attach.
        """
        raise NotImplementedError

    def network_restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """After the daemon's start: these, and no others, exist. What a crash left beyond them is removed;
        rules and port maps are made to match in one transaction; traffic of live containers is not disturbed. Idempotent.
        """
        raise NotImplementedError

    def network_close(self) -> None:
        """The daemon stops: end threads, drop prepared sandboxes. Networks and endpoints stay. Idempotent."""
        raise NotImplementedError
