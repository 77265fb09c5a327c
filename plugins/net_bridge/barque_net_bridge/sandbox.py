"""An endpoint's interface: a veth pair from the bridge into a sandbox, configured inside."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_net_bridge import rtnetlink
from barque_net_bridge.ipam import Address, Interface
from barque_net_bridge.namespaces import in_namespace, in_new_namespace, write_sysctl
from barque_net_bridge.netlink import NETLINK_ROUTE, NetlinkError, NetlinkSocket
from barque_net_bridge.refusals import kernel
from barque_net_bridge.rtnetlink import Veth

__all__ = ["Plan", "connect", "loopback_up", "prepare", "route"]

LOOPBACK = 1  # every network namespace is born with it as its first link


@dataclass(frozen=True, slots=True)
class Plan:
    """An interface to make. `bridge` is a link index. `addresses` are those of the endpoint, IPv4 before IPv6; `more` the others.
    `gateways`: of the default routes it gets. `sysctls`: (path below /proc/sys/net, value)."""

    host: str
    interface: str
    mac: str
    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    bridge: int
    group: int
    mtu: int
    hairpin: bool
    isolated: bool
    more: tuple[Interface, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()

    @property
    def ipv6(self) -> bool:
        """Whether the interface has IPv6."""
        return any(address.version == 6 for address in (*self.addresses, *self.more))


def prepare(channel: NetlinkSocket, plan: Plan) -> int:
    """Make a new sandbox with the interface in it; return its descriptor, now the caller's.

    `channel` is an rtnetlink socket of the daemon's namespace. On error nothing is left.
    """
    with kernel("preparing a network sandbox"):
        netns, _ = in_new_namespace(lambda netns: _furnish(channel, plan, netns))
    return netns


def connect(channel: NetlinkSocket, plan: Plan, netns: int) -> None:
    """Make the interface in the sandbox `netns`. On error nothing is left."""
    with kernel(f"making interface {plan.interface} in the sandbox"):
        in_namespace(netns, lambda: _furnish(channel, plan, netns))


def loopback_up(netns: int) -> None:
    """Bring `lo` up in the sandbox `netns`."""

    def work() -> None:
        with NetlinkSocket(NETLINK_ROUTE) as inside:
            inside.do(rtnetlink.set_up(LOOPBACK))

    with kernel("bringing up the loopback interface of the sandbox"):
        in_namespace(netns, work)


def route(netns: int, interface: str, gateways: tuple[Address, ...], *, default: bool) -> None:
    """Send what has no other route in the sandbox through `interface`, or no longer. Idempotent. On error it is as it was."""

    def work() -> None:
        with NetlinkSocket(NETLINK_ROUTE) as inside:
            index = rtnetlink.link(inside, interface).index
            done: list[bytes] = []
            try:
                for gateway in gateways:
                    done += [gateway.packed] * _set_route(inside, index, gateway.packed, default)
            except BaseException:
                for packed in done:
                    _set_route(inside, index, packed, not default)
                raise

    with kernel(f"changing the default route through {interface}"):
        in_namespace(netns, work)


def _set_route(inside: NetlinkSocket, index: int, gateway: bytes, default: bool) -> bool:
    """Whether anything was done: a route that is not there need not be deleted."""
    if default:
        inside.do(rtnetlink.add_default_route(index, gateway))
        return True
    try:
        inside.do(rtnetlink.delete_default_route(index, gateway))
    except NetlinkError as error:
        if error.errno != errno.ESRCH:
            raise
        return False
    return True


def _furnish(channel: NetlinkSocket, plan: Plan, netns: int) -> None:
    """Make and configure the pair; the calling thread is inside the sandbox, `channel` is not."""
    pair = Veth(
        plan.host,
        plan.interface,
        bytes.fromhex(plan.mac.replace(":", "")),
        plan.mtu,
        plan.bridge,
        plan.group,
        netns,
    )
    channel.do(rtnetlink.add_veth(pair))
    try:
        if plan.hairpin or plan.isolated:
            channel.do(rtnetlink.port_flags(plan.host, hairpin=plan.hairpin, isolated=plan.isolated))
        _configure(plan)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that matters is on its way
            channel.do(rtnetlink.delete_link(plan.host))
        raise


def _configure(plan: Plan) -> None:
    # While the interface is down: otherwise it gets a link-local address and listens to router advertisements.
    if plan.ipv6:
        _configure_ipv6(plan.interface)
    else:
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            write_sysctl(f"ipv6/conf/{plan.interface}/disable_ipv6", "1")
    _set_sysctls(plan.sysctls)
    with NetlinkSocket(NETLINK_ROUTE) as inside:
        index = rtnetlink.link(inside, plan.interface).index
        inside.do(
            rtnetlink.set_up(LOOPBACK),
            rtnetlink.set_up(index),
            *(rtnetlink.add_address(index, address) for address in plan.addresses + plan.more),
            *(rtnetlink.add_default_route(index, gateway.packed) for gateway in plan.gateways),
        )


def _configure_ipv6(interface: str) -> None:
    """No neighbour is asked whether an address is free, and none is believed to be a router."""
    for name, value in (("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")):
        try:
            write_sysctl(f"ipv6/conf/{interface}/{name}", value)
        except FileNotFoundError:
            raise FailedPrecondition("this host has no IPv6", hint="boot without ipv6.disable=1") from None


def _set_sysctls(sysctls: tuple[tuple[str, str], ...]) -> None:
    for path, value in sysctls:
        try:
            write_sysctl(path, value)
        except OSError as error:
            raise InvalidArgument(f"sysctl net/{path}={value}: {error.strerror}") from error
