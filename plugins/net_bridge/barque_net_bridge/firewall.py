"""The tables as they should be, in memory, and the kernel's made to match them.

Memory is the truth: every change is put there first and then into the kernel as one transaction. When that fails,
because somebody flushed or changed a table, all of them are asserted instead, again in one transaction.
The table of family ip6 is there as long as a network has IPv6.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from barque.spi.errors import FailedPrecondition
from barque_net_bridge import nfnetlink, ruleset
from barque_net_bridge.guarding import GuardRule, guard_elements, guard_table
from barque_net_bridge.netlink import NETLINK_NETFILTER, NetlinkSocket
from barque_net_bridge.nft import Nft, NftError, open_nft
from barque_net_bridge.ruleset import NetworkRules, PortRule

__all__ = ["Firewall"]


class Firewall:
    """The driver's tables. Thread-safe. Acts in the network namespace of the thread that first uses it."""

    def __init__(self, table: str, *, antispoof: bool) -> None:
        self.table = table
        self._antispoof = antispoof
        self._lock = threading.Lock()
        self._nft: Nft | None = None
        self._channel: NetlinkSocket | None = None
        self._networks: dict[str, NetworkRules] = {}
        self._ports: dict[str, tuple[PortRule, ...]] = {}
        self._guards: dict[str, GuardRule] = {}
        self._asserted: set[str] = set()  # the families whose table this process made or found complete
        self._own: deque[int] = deque(maxlen=256)  # generations that our own transactions made

    def add_network(self, id: str, rules: NetworkRules) -> None:
        """Let a network's traffic through. Idempotent.

        For the first network of a family and for one that exists all tables are asserted, around the elements they have:
        those of living containers stay until `restore` knows of them.
        """
        with self._lock:
            families = ruleset.families_of(rules)
            new = families <= self._asserted and self._networks.get(id) != rules
            before = self._networks.get(id)
            self._networks[id] = rules
            try:
                if new:
                    self._change(self._network_commands(rules, families))
                else:
                    self._transact(self._everything(replace=False))
                    self._asserted |= families
            except FailedPrecondition:
                if before is None:
                    del self._networks[id]
                raise

    def remove_network(self, id: str) -> None:
        """Undo `add_network`; the last network of a family takes the table with it. Idempotent."""
        with self._lock:
            rules = self._networks.pop(id, None)
            if rules is None:
                return
            left = self._families()
            gone = ruleset.families_of(rules) - left
            if not left:
                self._transact(self._nothing(self._asserted))
                self._asserted.clear()
                return
            commands = ruleset.no_table(self.table, sorted(gone))
            for family in sorted(ruleset.families_of(rules) - gone):
                elements = ruleset.network_elements(rules, family)
                commands += ruleset.delete_elements(self.table, elements, family)
            self._change(commands)
            self._asserted -= gone

    def replace(self, endpoint: str, ports: tuple[PortRule, ...]) -> tuple[PortRule, ...]:
        """Publish these ports of an endpoint instead of what it had, in one transaction; return what it had."""
        with self._lock:
            before = self._ports.get(endpoint, ())
            self._set_ports(endpoint, ports)
            gone = [port for port in before if port not in ports]
            new = [port for port in ports if port not in before]
            try:
                if gone or new:
                    self._change(self._port_commands(gone, new))
            except FailedPrecondition:
                self._set_ports(endpoint, before)
                raise
            return before

    def guard(self, rule: GuardRule) -> None:
        """Let only these addresses come from a bridge port. Nothing happens unless `antispoof` is on."""
        if not self._antispoof:
            return
        with self._lock:
            self._guards[rule.host] = rule
            self._change(ruleset.add_elements(self.table, guard_elements((rule,)), "bridge"))

    def unguard(self, hosts: Iterable[str]) -> None:
        """Undo `guard` for ports that are gone. Idempotent."""
        with self._lock:
            gone = [self._guards.pop(host) for host in hosts if host in self._guards]
            if gone:
                self._change(ruleset.delete_elements(self.table, guard_elements(gone), "bridge"))

    def restore(
        self,
        networks: Mapping[str, NetworkRules],
        ports: Mapping[str, tuple[PortRule, ...]],
        guards: Iterable[GuardRule],
    ) -> None:
        """Make these, and no others but the guards of this process, what the tables hold, in one transaction."""
        with self._lock:
            self._networks = dict(networks)
            self._ports = dict(ports)
            if self._antispoof:
                self._guards.update((rule.host, rule) for rule in guards)
            families = self._families()
            stale = {"ip6"} - families if families and self._has_table("ip6") else set[str]()
            commands = self._everything(replace=True) if families else self._nothing({"ip", "ip6"})
            self._transact(commands + ruleset.no_table(self.table, stale))
            self._asserted = families

    def reassert(self, *, unless_own: Iterable[int] = ()) -> bool:
        """Assert all tables, and tell whether that was done: not after only our own transactions
        (generations) `unless_own`, nor while there is no network."""
        with self._lock:
            generations = tuple(unless_own)
            if not self._networks or (generations and all(id in self._own for id in generations)):
                return False
            self._transact(self._everything(replace=True))
            return True

    def close(self) -> None:
        """Give back sockets and library. The tables stay: containers outlive the daemon. Idempotent."""
        with self._lock:
            if self._nft is not None:
                self._nft.close()
            if self._channel is not None:
                self._channel.close()
            self._nft = self._channel = None

    def _set_ports(self, endpoint: str, ports: tuple[PortRule, ...]) -> None:
        if ports:
            self._ports[endpoint] = ports
        else:
            self._ports.pop(endpoint, None)

    def _families(self) -> set[str]:
        return {family for rules in self._networks.values() for family in ruleset.families_of(rules)}

    def _network_commands(self, rules: NetworkRules, families: Iterable[str]) -> str:
        return "".join(
            ruleset.add_elements(self.table, ruleset.network_elements(rules, family), family)
            for family in sorted(families)
        )

    def _port_commands(self, gone: list[PortRule], new: list[PortRule]) -> str:
        commands: list[str] = []
        for family in sorted({port.family for port in (*gone, *new)}):
            keys = ruleset.port_elements(gone, family, keys_only=True)
            commands.append(ruleset.delete_elements(self.table, keys, family))
            commands.append(ruleset.add_elements(self.table, ruleset.port_elements(new, family), family))
        return "".join(commands)

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
                f"nftables refused the rules of table {self.table}: {error}",
                hint="the kernel needs nf_tables with nat, masquerade, fib and concatenated maps (Linux 5.6)",
            ) from error

    def _nothing(self, families: set[str]) -> str:
        """Commands that remove every table there may be; that of ip6 only where it is, for a kernel may have no such family."""
        there = sorted(family for family in families if family == "ip" or self._has_table(family))
        return ruleset.no_table(self.table, [*there, "bridge"] if self._antispoof else there)

    def _everything(self, *, replace: bool) -> str:
        families = sorted(self._families())
        if not families:
            return self._nothing({"ip"})
        parts = [ruleset.table(self.table, families, replace=replace)]
        for family in families:
            parts.append(ruleset.add_elements(self.table, self._all_networks(family), family))
            every = (port for ports in self._ports.values() for port in ports)
            parts.append(ruleset.add_elements(self.table, ruleset.port_elements(every, family), family))
        if self._antispoof:
            parts.append(guard_table(self.table, replace=replace))
            guards = guard_elements(self._guards.values())
            parts.append(ruleset.add_elements(self.table, guards, "bridge"))
        return "".join(parts)

    def _all_networks(self, family: str) -> dict[str, list[str]]:
        merged: dict[str, list[str]] = {}
        for rules in self._networks.values():
            if family not in ruleset.families_of(rules):
                continue
            for name, items in ruleset.network_elements(rules, family).items():
                merged.setdefault(name, []).extend(items)
        return merged

    def _has_table(self, family: str) -> bool:
        return nfnetlink.has_table(self._open()[1], family, self.table)

    def _open(self) -> tuple[Nft, NetlinkSocket]:
        if self._nft is None or self._channel is None:
            self._nft = open_nft()
            self._channel = NetlinkSocket(NETLINK_NETFILTER)
        return self._nft, self._channel

    def _run(self, commands: str) -> None:
        """One transaction, with its generation remembered.

        Generations count up by one. When it went up by more, somebody else's transaction is among them
        and none is taken for ours: the watch then asserts the table once too often, which does no harm.
        """
        nft, channel = self._open()
        before = nfnetlink.generation(channel)
        nft.run(commands)
        after = nfnetlink.generation(channel)
        if after == before + 1:
            self._own.append(after)
