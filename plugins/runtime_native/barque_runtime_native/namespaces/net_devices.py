"""`linux.netDevices`: interfaces of the host that become a container's (runtime-spec: config-linux.md, "Network devices").

An interface goes with its permanent addresses of global scope, which the kernel forgets when it changes the namespace,
and is set up. When the container ends the kernel takes physical ones back and destroys virtual ones; a container that
cannot be created gives all of them back.
"""

from __future__ import annotations

import os

from barque.spi.errors import AlreadyExists, BarqueError, InvalidArgument, NotFound
from barque_runtime_native.failures import translate
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces.namespaces import Visit
from barque_runtime_native.namespaces.rtnetlink import Address, Link, Rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.namespaces.namespaces import NamespacePlan
    from barque_runtime_native.spec import Section

MAX_NAME = 15
TEMPLATE = "%d"


class NetDevices:
    """What goes where: names of the host -> names in the container."""

    def __init__(self, section: Section, namespaces: NamespacePlan) -> None:
        self.names: dict[str, str] = {}
        for name in section.names():
            device = section.section(name)
            self.names[name] = check_name(
                device.text("name") or name, f"{section.path(name)}.name", template=True
            )
            check_name(name, section.path(name))
        targets = [name for name in self.names.values() if TEMPLATE not in name]
        if len(set(targets)) < len(targets):
            raise InvalidArgument(f"{section.name}: two devices would have the same name in the container")
        if not namespaces.own("network"):
            raise InvalidArgument(
                f"{section.name}: unable to move network devices without a private NET namespace",
                hint="add one to linux.namespaces",
            )
        self.moved: list[Moved] = []

    def apply(self, pid: int) -> None:
        """Move them into the network namespace of process `pid`. On an error all are back where they were.

        Errors: NotFound for an interface that is not there, AlreadyExists for a name that is taken inside.
        """
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.path.sameopenfile(here, there):
                raise InvalidArgument(
                    "linux.netDevices: the container's network namespace is the runtime's own"
                )
            self._move_all(here, there)
        except (BarqueError, OSError):
            self.undo()
            raise
        finally:
            os.close(there)

    def _move_all(self, here: int, there: int) -> None:
        outside = Rtnetlink()
        with Visit([(there, syscalls.CLONE_NEWNET)]):
            inside = Rtnetlink()
        present = {link.name: link for link in outside.links()}
        taken = {link.name for link in inside.links()}
        for name, target in self.names.items():
            if name not in present:
                raise NotFound(
                    f"linux.netDevices.{name}: no such network interface in the runtime's namespace"
                )
            if target in taken:
                raise AlreadyExists(
                    f"linux.netDevices.{name}: the container has an interface {target} already"
                )
        for name, target in self.names.items():
            moved = Moved(present[name], outside.addresses(present[name].index), outside, inside, here)
            self.moved.append(moved)
            try:
                moved.go(there, target)
            except OSError as error:
                raise translate(error, f"linux.netDevices.{name}") from error

    def undo(self) -> None:
        """Give them back, as far as the kernel lets us: the first error is the one to be told."""
        while self.moved:
            try:
                self.moved.pop().come_back()
            except OSError:
                continue


class Moved:
    """An interface on its way."""

    def __init__(
        self, link: Link, addresses: list[Address], outside: Rtnetlink, inside: Rtnetlink, here: int
    ) -> None:
        self.link = link
        self.addresses = addresses
        self.outside = outside
        self.inside = inside
        self.here = here
        self.index = 0

    def go(self, there: int, name: str) -> None:
        """Into the namespace behind `there`, with its addresses, up."""
        before = {link.index for link in self.inside.links()}
        try:
            self.outside.move(self.link.index, there, name)
        finally:
            # a rename that fails leaves it in the new namespace
            new = [link.index for link in self.inside.links() if link.index not in before]
            self.index = new[0] if new else 0
        settle(self.inside, self.index, self.addresses, up=True)

    def come_back(self) -> None:
        """Back to the runtime's namespace, as it was."""
        if not self.index:
            return
        self.inside.move(self.index, self.here, self.link.name)
        index = next(link.index for link in self.outside.links() if link.name == self.link.name)
        settle(self.outside, index, self.addresses, up=self.link.up)


def settle(namespace: Rtnetlink, index: int, addresses: list[Address], *, up: bool) -> None:
    """Give the interface its addresses back. IPv6 may have kept them: then they are there already."""
    for address in addresses:
        try:
            namespace.add(index, address)
        except FileExistsError:
            continue
    if up:
        namespace.set_up(index)


def check_name(name: str, field: str, *, template: bool = False) -> str:
    """A name the kernel takes for an interface (dev_valid_name); with `template` also one like `eth%d`."""
    plain = name.replace(TEMPLATE, "0", 1) if template else name
    if (
        not name
        or name in (".", "..")
        or len(os.fsencode(name)) > MAX_NAME
        or any(each in "/:%" or each.isspace() for each in plain)
    ):
        raise InvalidArgument(
            f"{field}: {name!r} is not a name of a network interface", hint="at most 15 bytes"
        )
    return name
