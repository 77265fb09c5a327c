"""Links of the default network (`--link`): the address, the ports and the environment of another container under an alias."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from barque.engine.networking.stored import NetworkTable
from barque.engine.records import ContainerRecord, StoredContainer
from barque.spi.errors import Conflict, InvalidArgument, NotFound
from barque.spi.frontend import ContainerConfig

__all__ = [
    "Link",
    "LinkedHost",
    "check_links",
    "linked",
    "parse_link",
    "running_links",
    "with_links",
    "without_link",
]

LinkedHost = tuple[str, list[str]]
"""An address and the names it has."""


@dataclass(frozen=True, slots=True)
class Link:
    """A container that another one has a name for."""

    alias: str
    target: StoredContainer
    addresses: tuple[str, ...]

    @property
    def hosts(self) -> list[LinkedHost]:
        """What /etc/hosts says of it."""
        names = dict.fromkeys((self.alias, self.target.hostname, self.target.name))
        return [(address, list(names)) for address in self.addresses]


def parse_link(text: str) -> tuple[str, str]:
    """`name:alias`, `name`, or as inspect shows it `/name:/own/alias`: the other container and the alias. Errors: InvalidArgument."""
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise InvalidArgument(f"bad format for links: {text}")
    return name.removeprefix("/"), alias.rpartition("/")[2] or name.removeprefix("/")


def check_links(config: ContainerConfig, find: Callable[[str], ContainerRecord]) -> None:
    """The links of a new container: the others exist. Errors: InvalidArgument."""
    for text in config.links:
        name, _ = parse_link(text)
        try:
            find(name)
        except NotFound:
            raise InvalidArgument(f"could not get container for {name}") from None


def linked(
    config: ContainerConfig, table: NetworkTable, find: Callable[[str], ContainerRecord]
) -> tuple[Link, ...]:
    """The links of a container in the default network; none where it is not in that. Errors: NotFound, Conflict (one does not run)."""
    network = table.default
    if network not in (config.networks or {table.find(config.network).name}):
        return ()
    found = []
    for text in config.links:
        name, alias = parse_link(text)
        target = find(name).stored
        if target.state.status not in ("running", "paused"):
            raise Conflict(f"Cannot link to a non running container: /{target.name} AS /{alias}")
        endpoint = target.endpoints.get(network)
        if endpoint is None:
            raise Conflict(f"container {target.id} not attached to default bridge network")
        addresses = tuple(a.partition("/")[0] for a in (endpoint.ipv4, endpoint.ipv6) if a)
        found.append(Link(alias, target, addresses))
    return tuple(found)


def running_links(
    config: ContainerConfig, table: NetworkTable, find: Callable[[str], ContainerRecord]
) -> tuple[Link, ...]:
    """As `linked`, less those whose container does not run or is gone: for one that runs already."""
    found: list[Link] = []
    for text in config.links:
        with contextlib.suppress(NotFound, Conflict):
            found += linked(replace(config, links=(text,)), table, find)
    return tuple(found)


def with_links(config: ContainerConfig, owner: str, links: Sequence[Link]) -> ContainerConfig:
    """The configuration with the variables by which a container learns of those it is linked to (`DB_PORT_5432_TCP_ADDR=…`); its own
    ones come after them. `owner`: its name."""
    if not links:
        return config
    variables = (line for link in links for line in _variables(owner, link))
    return replace(config, env=(*variables, *config.env))


def _variables(owner: str, link: Link) -> list[str]:
    prefix = link.alias.upper().replace("-", "_")
    address = link.addresses[0] if link.addresses else ""
    ports = sorted(_ports(link.target.config), key=lambda port: (port[0], port[1] != "tcp"))
    lines = []
    if ports:
        number, protocol = ports[0]
        lines.append(f"{prefix}_PORT={protocol}://{address}:{number}")
    for first, last in _runs(ports):
        lines += _port(f"{prefix}_PORT_{first[0]}_{first[1].upper()}", address, first, "_START")
        lines += _port(f"{prefix}_PORT_{first[0]}_{first[1].upper()}", address, last, "_END")
    for port in ports:
        lines += _port(f"{prefix}_PORT_{port[0]}_{port[1].upper()}", address, port, "")
    lines.append(f"{prefix}_NAME=/{owner}/{link.alias}")
    for entry in link.target.config.env:
        key, equals, value = entry.partition("=")
        if equals and key not in ("HOME", "PATH"):
            lines.append(f"{prefix}_ENV_{key}={value}")
    return lines


def _port(name: str, address: str, port: tuple[int, str], edge: str) -> list[str]:
    """The variables of one port, or of one edge (`_START`, `_END`) of a run of them."""
    number, protocol = port
    lines = [f"{name}{edge}={protocol}://{address}:{number}", f"{name}_PORT{edge}={number}"]
    if edge != "_END":
        lines += [f"{name}_ADDR={address}", f"{name}_PROTO={protocol}"]
    return lines


def _ports(config: ContainerConfig) -> list[tuple[int, str]]:
    pairs = (text.partition("/") for text in config.exposed_ports)
    return [(int(number), protocol or "tcp") for number, _, protocol in pairs if number.isdecimal()]


def _runs(ports: Sequence[tuple[int, str]]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    """First and last of each run of three or more consecutive ports."""
    runs = []
    begin = 0
    for index in range(1, len(ports) + 1):
        if index == len(ports) or ports[index][0] != ports[index - 1][0] + 1:
            if index - begin > 2:
                runs.append((ports[begin], ports[index - 1]))
            begin = index
    return runs


def without_link(config: ContainerConfig, alias: str) -> ContainerConfig:
    """The configuration less the link of this alias. Errors: NotFound."""
    left = tuple(text for text in config.links if parse_link(text)[1] != alias)
    if len(left) == len(config.links):
        raise NotFound(f"Cannot get parent /{alias} for link")
    return replace(config, links=left)
