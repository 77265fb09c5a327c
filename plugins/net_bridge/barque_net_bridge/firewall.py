"""The table as it should be, in memory, and the kernel's made to match it.

Memory is the truth: every change is put there first and then into the kernel as one transaction. When that fails,
because somebody flushed or changed the table, the whole table is asserted instead, again in one transaction.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from barque.spi.errors import FailedPrecondition
from barque_net_bridge import nfnetlink, ruleset
from barque_net_bridge.netlink import NETLINK_NETFILTER, NetlinkSocket
from barque_net_bridge.nft import Nft, NftError, open_nft
from barque_net_bridge.ruleset import GuardRule, NetworkRules, PortRule

__all__ = ["Firewall"]


class Firewall:
    """The driver's table. Thread-safe. Acts in the network namespace of the thread that first uses it."""

    def __init__(self, table: str, *, antispoof: bool) -> None:
        self.table = table
        self._antispoof = antispoof
        self._lock = threading.Lock()
        self._nft: Nft | None = None
        self._channel: NetlinkSocket | None = None
        self._networks: dict[str, NetworkRules] = {}
        self._ports: dict[str, tuple[PortRule, ...]] = {}
        self._guards: dict[str, GuardRule] = {}
        self._own: deque[int] = deque(maxlen=256)  # generations that our own transactions made

    def add_network(self, id: str, rules: NetworkRules) -> None:
        """Let a network's traffic through. Idempotent.

        For the first network and for one that exists the whole table is asserted, around the elements it has:
        those of living containers stay until `restore` knows of them.
        """
        with self._lock:
            new = bool(self._networks) and self._networks.get(id) != rules
            self._networks[id] = rules
            if new:
                self._change(ruleset.add_elements(self.table, ruleset.network_elements(rules)))
            else:
                self._change(self._everything(replace=False))

    def remove_network(self, id: str) -> None:
        """Undo `add_network`; the last network takes the table with it. Idempotent."""
        with self._lock:
            rules = self._networks.pop(id, None)
            if rules is not None and not self._networks:
                self._transact(ruleset.no_table(self.table, guard=self._antispoof))
            elif rules is not None:
                self._change(ruleset.delete_elements(self.table, ruleset.network_elements(rules)))

    def replace(self, endpoint: str, ports: tuple[PortRule, ...]) -> tuple[PortRule, ...]:
        """Publish these ports of an endpoint instead of what it had, in one transaction; return what it had."""
        with self._lock:
            before = self._ports.get(endpoint, ())
            self._set_ports(endpoint, ports)
            gone = ruleset.port_elements([port for port in before if port not in ports], keys_only=True)
            new = ruleset.port_elements([port for port in ports if port not in before])
            commands = ruleset.delete_elements(self.table, gone) + ruleset.add_elements(self.table, new)
            try:
                if commands:
                    self._change(commands)
            except FailedPrecondition:
                self._set_ports(endpoint, before)
                raise
            return before

    def _set_ports(self, endpoint: str, ports: tuple[PortRule, ...]) -> None:
        if ports:
            self._ports[endpoint] = ports
        else:
            self._ports.pop(endpoint, None)

    def withdraw(self, endpoint: str) -> tuple[PortRule, ...]:
        """Undo `publish` and return what had been published. Idempotent."""
        with self._lock:
            ports = self._ports.pop(endpoint, ())
            if ports:
                self._change(
                    ruleset.delete_elements(self.table, ruleset.port_elements(ports, keys_only=True))
                )
            return ports

    def guard(self, rule: GuardRule) -> None:
        """Let only these addresses come from a bridge port. Nothing happens unless `antispoof` is on."""
        if not self._antispoof:
            return
        with self._lock:
            self._guards[rule.host] = rule
            self._change(ruleset.add_elements(self.table, ruleset.guard_elements((rule,)), "bridge"))

    def unguard(self, hosts: Iterable[str]) -> None:
        """Undo `guard` for ports that are gone. Idempotent."""
        with self._lock:
            gone = [self._guards.pop(host) for host in hosts if host in self._guards]
            if gone:
                self._change(ruleset.delete_elements(self.table, ruleset.guard_elements(gone), "bridge"))

    def restore(
        self,
        networks: Mapping[str, NetworkRules],
        ports: Mapping[str, tuple[PortRule, ...]],
        guards: Iterable[GuardRule],
    ) -> None:
        """Make these, and no others but the guards of this process, what the table holds, in one transaction."""
        with self._lock:
            self._networks = dict(networks)
            self._ports = dict(ports)
            if self._antispoof:
                self._guards.update((rule.host, rule) for rule in guards)
            self._transact(self._everything(replace=True))

    def reassert(self, *, unless_own: Iterable[int] = ()) -> bool:
        """Assert the whole table, and tell whether that was done: not after only our own transactions
        (generations) `unless_own`, nor while there is no network."""
        with self._lock:
            generations = tuple(unless_own)
            if not self._networks or (generations and all(id in self._own for id in generations)):
                return False
            self._transact(self._everything(replace=True))
            return True

    def close(self) -> None:
        """Give back sockets and library. The table stays: containers outlive the daemon. Idempotent."""
        with self._lock:
            if self._nft is not None:
                self._nft.close()
            if self._channel is not None:
                self._channel.close()
            self._nft = self._channel = None

    def _change(self, commands: str) -> None:
        try:
            self._run(commands)
        except NftError:
            self._transact(self._everything(replace=True))

    def _transact(self, commands: str) -> None:
        try:
            self._run(commands)
        except NftError as error:
            raise FailedPrecondition(
                f"nftables refused the rules of table ip {self.table}: {error}",
                hint="the kernel needs nf_tables with nat, masquerade, fib and concatenated maps (Linux 5.6)",
            ) from error

    def _everything(self, *, replace: bool) -> str:
        if not self._networks:
            return ruleset.no_table(self.table, guard=self._antispoof)
        parts = [ruleset.table(self.table, replace=replace, guard=self._antispoof)]
        merged: dict[str, list[str]] = {}
        for rules in self._networks.values():
            for name, items in ruleset.network_elements(rules).items():
                merged.setdefault(name, []).extend(items)
        parts.append(ruleset.add_elements(self.table, merged))
        every = (port for ports in self._ports.values() for port in ports)
        parts.append(ruleset.add_elements(self.table, ruleset.port_elements(every)))
        guards = ruleset.guard_elements(self._guards.values())
        parts.append(ruleset.add_elements(self.table, guards, "bridge"))
        return "".join(parts)

    def _run(self, commands: str) -> None:
        """One transaction, with its generation remembered.

        Generations count up by one. When it went up by more, somebody else's transaction is among them
        and none is taken for ours: the watch then asserts the table once too often, which does no harm.
        """
        if self._nft is None or self._channel is None:
            self._nft = open_nft()
            self._channel = NetlinkSocket(NETLINK_NETFILTER)
        before = nfnetlink.generation(self._channel)
        self._nft.run(commands)
        after = nfnetlink.generation(self._channel)
        if after == before + 1:
            self._own.append(after)
