"""The bridge of a network on this host, and the settings of the host that it needs."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable

from barque.spi.errors import Conflict, FailedPrecondition
from barque_net_bridge import rtnetlink
from barque_net_bridge.ipam import AddressPool
from barque_net_bridge.namespaces import read_sysctl, write_sysctl
from barque_net_bridge.netlink import NetlinkError, NetlinkSocket
from barque_net_bridge.rtnetlink import Link
from barque_net_bridge.settings import Options

__all__ = ["assert_bridge", "delete_bridge", "retire_bridge"]

log = logging.getLogger(__name__)


def assert_bridge(
    channel: NetlinkSocket, name: str, group: int, mtu: Callable[[], int], pools: Iterable[AddressPool], options: Options,
    *, internal: bool,
) -> Link:  # fmt: skip
    """Make the bridge of a network, or see that the one there is has what it needs. On error a new one is gone again.

    `mtu`: of a new one. Errors: Conflict, FailedPrecondition, OSError.
    """
    by_version: dict[int, AddressPool] = {pool.subnet.version: pool for pool in pools}
    link = _existing(channel, name)
    if link is not None and link.group == group + 1:  # of a network that was removed just now
        delete_bridge(channel, link, group + 1)
        link = None
    made = link is None
    if link is None:
        packed = next(iter(by_version.values())).subnet.network_address.packed
        gateways = [pool.gateway for pool in by_version.values() if pool.gateway is not None]
        mac = b"\x02\x42" + (gateways[0].packed if gateways else packed)[-4:]
        channel.do(rtnetlink.add_bridge(name, mac, mtu(), group))
        link = rtnetlink.link(channel, name)
    if link.kind != "bridge":
        raise Conflict(f"interface {name} exists and is not a bridge")
    try:
        _configure(channel, link, by_version, options, internal=internal)
    except BaseException:
        if made:
            delete_bridge(channel, link, group)
        raise
    return link


def delete_bridge(channel: NetlinkSocket, link: Link, group: int) -> None:
    """Delete a bridge of ours; one that somebody else made is only left."""
    if link.group == group:
        channel.do(rtnetlink.delete_link(link.name))


def retire_bridge(channel: NetlinkSocket, link: Link, group: int, pools: Iterable[AddressPool]) -> bool:
    """Take a bridge of ours out of use, and tell whether it was one: without addresses, in the group of those to be deleted.

    To delete it takes grace periods of the kernel, 40 ms and more; for a group of bridges no longer.
    """
    if link.group != group:
        return link.group == group + 1
    gateways = [pool.interface(pool.gateway) for pool in pools if pool.gateway is not None]
    requests = [rtnetlink.delete_address(link.index, address) for address in gateways]
    try:
        channel.do(rtnetlink.set_group(link.name, group + 1), *requests)
    except NetlinkError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
            raise
    return True


def _existing(channel: NetlinkSocket, name: str) -> Link | None:
    try:
        return rtnetlink.link(channel, name)
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def _configure(
    channel: NetlinkSocket, link: Link, pools: dict[int, AddressPool], options: Options, *, internal: bool
) -> None:
    """The host's settings are made before the bridge is up."""
    _configure_ipv6(link.name, wanted=6 in pools, forward=not internal)
    if not internal and 4 in pools:
        _configure_ipv4(link.name)
    requests = [
        rtnetlink.add_address(link.index, pool.interface(pool.gateway))
        for pool in pools.values()
        if pool.gateway is not None and not (pool.subnet.version == 4 and options.inhibit_ipv4)
    ]
    channel.do(*requests, rtnetlink.set_up(link.index))
    if 6 in pools and not internal:
        _let_loopback_in(channel, link.index)


def _let_loopback_in(channel: NetlinkSocket, index: int) -> None:
    """For ports that are published on ::1, as route_localnet is for 127.0.0.1."""
    try:
        channel.do(rtnetlink.add_loopback_route(index))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise


def _configure_ipv4(bridge: str) -> None:
    # Ports published on 127.0.0.1: lets the host's loopback address out to this bridge. The chain `loopback`
    # keeps everything else of 127/8 away from it.
    write_sysctl(f"ipv4/conf/{bridge}/route_localnet", "1")
    if read_sysctl("ipv4/ip_forward") == "0":
        log.info("net.ipv4.ip_forward was off and is now on: containers reach other hosts through this one")
        write_sysctl("ipv4/ip_forward", "1")


def _configure_ipv6(bridge: str, *, wanted: bool, forward: bool) -> None:
    disabled = read_sysctl(f"ipv6/conf/{bridge}/disable_ipv6")
    if not disabled:
        if wanted:
            raise FailedPrecondition(
                "this host has no IPv6", hint="boot without ipv6.disable=1, or leave --ipv6 away"
            )
        return
    write_sysctl(f"ipv6/conf/{bridge}/accept_ra", "0")  # a container is no router of this host
    if not wanted:
        if disabled == "0":
            write_sysctl(f"ipv6/conf/{bridge}/disable_ipv6", "1")
        return
    write_sysctl(f"ipv6/conf/{bridge}/accept_dad", "0")
    write_sysctl(f"ipv6/conf/{bridge}/disable_ipv6", "0")
    if forward and read_sysctl("ipv6/conf/all/forwarding") == "0":
        log.info(
            "net.ipv6.conf.all.forwarding was off and is now on: containers reach other hosts through this one"
        )
        _keep_router_advertisements()
        write_sysctl("ipv6/conf/all/forwarding", "1")


def _keep_router_advertisements() -> None:
    """A host that forwards no longer listens to routers: it would lose its own way out where it has that from one."""
    for name in os.listdir("/proc/sys/net/ipv6/conf"):
        if name not in ("all", "default", "lo") and read_sysctl(f"ipv6/conf/{name}/accept_ra") == "1":
            write_sysctl(f"ipv6/conf/{name}/accept_ra", "2")
