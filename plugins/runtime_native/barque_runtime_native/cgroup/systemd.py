"""systemd's cgroup driver (`--systemd-cgroup`): the container's cgroup is a scope, which systemd makes and knows.

A scope needs a process from its beginning (org.freedesktop.systemd1(5), StartTransientUnit): a placeholder waits in it
until init is there. The scope is delegated: below it systemd changes nothing, at it only what its properties say, so
limits are told to systemd as well as written.
"""

from __future__ import annotations

import os

from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from barque_runtime_native.cgroup.dbus import BUS, Connection
from barque_runtime_native.cgroup.plan import CgroupPlan, can_be_entered
from barque_runtime_native.cgroup.systemd_limits import properties_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from barque_runtime_native.cgroup.layout import Layout
    from barque_runtime_native.cgroup.setting import Setting
    from barque_runtime_native.spec import Section

SYSTEMD = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = (SYSTEMD, OBJECT, f"{SYSTEMD}.Manager")
SYSTEM_BUS = "/run/dbus/system_bus_socket"
PRIVATE = "/run/systemd/private"
UNIT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
MAX_UNIT = 255
ACCOUNTING = ("MemoryAccounting", "CPUAccounting", "TasksAccounting")


class SystemdCgroupPlan(CgroupPlan):
    """A container's cgroup as a scope: `linux.cgroupsPath` is `SLICE:PREFIX:NAME`."""

    def __init__(self, linux: Section, layout: Layout, container: str, *, rootless: bool = False) -> None:
        field = linux.path("cgroupsPath")
        slice_, prefix, name = split_path(linux.text("cgroupsPath") or f"::{container}", field)
        self.slice = slice_ or ("user.slice" if rootless else "system.slice")
        self.scope = scope_name(prefix, name, field)
        self.container = container
        self.path = f"{expand_slice(self.slice, field)}/{self.scope}"
        self.placeholder = Placeholder()
        self.started = False
        super().__init__(linux, layout, container, rootless=rootless)
        self.unit = {"unit": self.scope, "user": rootless}

    def _places(self, path: str, layout: Layout) -> dict[str, str]:
        bus = connect(user=self.rootless)
        try:
            (top,) = bus.call(
                (SYSTEMD, OBJECT, "org.freedesktop.DBus.Properties"), "Get", "ss", MANAGER[2], "ControlGroup"
            )
        finally:
            bus.close()
        if ".." in top.split("/"):
            raise FailedPrecondition(f"systemd's cgroup is {top}, outside of this cgroup namespace")
        path = f"{top.rstrip('/')}{self.path}"
        return {each.name: os.path.normpath(each.directory(path)) for each in layout.hierarchies}

    def _allowed(self, places: dict[str, str], layout: Layout) -> dict[str, str]:
        for each in layout.hierarchies:
            if not can_be_entered(each, places[each.name]):
                raise FailedPrecondition(
                    f"{self.field}: this process is in the cgroup {each.own}, which systemd has not delegated to this user",
                    hint="start it with systemd-run --user --scope",
                )
        return super()._allowed(places, layout)

    def create(self) -> list[str]:
        """Have systemd make the scope, then as without it."""
        pid = self.placeholder.start()
        try:
            start(self.scope, self._properties(pid), user=self.rootless)
            self.started = True
            return super().create()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Init is in the scope: it needs no placeholder any more."""
        self.placeholder.end()

    def undo(self, made: list[str]) -> None:
        """As without systemd, and the scope."""
        if self.started:
            stop(self.unit)
        super().undo(made)

    def _properties(self, pid: int) -> list[tuple[str, tuple[str, Any]]]:
        io = "IOAccounting" if self.layout.unified else "BlockIOAccounting"
        return [
            ("Description", ("s", f"barque container {self.container}")),
            ("Slice", ("s", self.slice)),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            ("PIDs", ("au", [pid])),
            *((name, ("b", True)) for name in (*ACCOUNTING, io)),
            *properties_of(self.settings),
        ]


class Placeholder:
    """A child that does nothing, until its parent says or is gone."""

    def __init__(self) -> None:
        self.pid = 0
        self.pipe = -1

    def start(self) -> int:
        """Its pid."""
        wait, self.pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.pipe)
                os.read(wait, 1)
            finally:
                os._exit(0)
        os.close(wait)
        return self.pid

    def end(self) -> None:
        """End and reap it. Idempotent."""
        if self.pipe < 0:
            return
        os.close(self.pipe)
        self.pipe = -1
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            return  # the caller has its children reaped by the kernel


def split_path(path: str, field: str) -> tuple[str, str, str]:
    """(slice, prefix, name) of a cgroupsPath. Errors: InvalidArgument."""
    parts = path.split(":")
    if len(parts) != 3 or "/" in path or not parts[2]:
        raise InvalidArgument(
            f'{field}: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{path}" instead'
        )
    return parts[0], parts[1], parts[2]


def scope_name(prefix: str, name: str, field: str) -> str:
    """The unit of a container. Errors: InvalidArgument for what systemd would not take."""
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if name.endswith(".slice") or not UNIT_CHARACTERS.issuperset(unit) or len(unit) > MAX_UNIT:
        raise InvalidArgument(f"{field}: {unit!r} cannot be the name of a systemd scope")
    return unit


def expand_slice(name: str, field: str) -> str:
    """Where a slice is: `a-b.slice` is `/a.slice/a-b.slice` (systemd.slice(5)). Errors: InvalidArgument."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == name or "" in parts or not UNIT_CHARACTERS.issuperset(name) or len(name) > MAX_UNIT:
        raise InvalidArgument(f"{field}: {name!r} is not the name of a systemd slice")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def connect(*, user: bool) -> Connection:
    """A connection to the systemd of the system or of this user. Errors: FailedPrecondition."""
    problem: Exception | None = None
    for address, direct in addresses(user=user):
        try:
            return Connection(address, direct=direct)
        except OSError as error:
            problem = error
    raise FailedPrecondition(
        f"--systemd-cgroup: cannot reach {'the systemd of this user' if user else 'systemd'} over D-Bus: {problem}",
        hint="run systemd and its D-Bus, log in with a session of systemd, or leave the option out",
    ) from problem


def addresses(*, user: bool) -> list[tuple[str, bool]]:
    """Sockets to try, and whether systemd itself listens there. An abstract one begins with NUL."""
    variable = "DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS"
    found = [socket_of(each) for each in os.environ.get(variable, "").split(";") if each.startswith("unix:")]
    if user:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        return [(each, False) for each in (*found, f"{runtime}/bus") if each] + [
            (f"{runtime}/systemd/private", True)
        ]
    return [(each, False) for each in found or [SYSTEM_BUS] if each] + [(PRIVATE, True)]


def socket_of(address: str) -> str:
    """The socket of `unix:path=/run/bus,guid=…`; empty for another kind. `%XX` is an escape."""
    pairs = dict(each.partition("=")[::2] for each in address.removeprefix("unix:").split(","))
    name = pairs.get("path") or ("\0" + pairs["abstract"] if "abstract" in pairs else "")
    first, *rest = name.split("%")
    return first + "".join(chr(int(each[:2], 16)) + each[2:] for each in rest)


def start(unit: str, properties: list[tuple[str, tuple[str, Any]]], *, user: bool) -> None:
    """Make a scope and wait until it is there. One of that name that has failed is cleared away first."""
    bus = connect(user=user)
    try:
        listen(bus)
        arguments: tuple[Any, ...] = ("ssa(sv)a(sa(sv))", unit, "replace", properties, [])
        try:
            (job,) = bus.call(MANAGER, "StartTransientUnit", *arguments)
        except Conflict:
            bus.call(MANAGER, "ResetFailedUnit", "s", unit)
            (job,) = bus.call(MANAGER, "StartTransientUnit", *arguments)
        finish(bus, job, unit, "start")
    finally:
        bus.close()


def stop(unit: Mapping[str, Any]) -> None:
    """Have systemd remove a scope and forget it. Idempotent."""
    bus = connect(user=bool(unit["user"]))
    try:
        listen(bus)
        try:
            (job,) = bus.call(MANAGER, "StopUnit", "ss", unit["unit"], "replace")
            finish(bus, job, unit["unit"], "stop")
            bus.call(MANAGER, "ResetFailedUnit", "s", unit["unit"])
        except NotFound:
            return  # a scope goes by itself when it is empty
    finally:
        bus.close()


def set_limits(unit: Mapping[str, Any], settings: list[Setting]) -> None:
    """Tell systemd of new limits of a scope, lest it writes the old ones again when it is reloaded."""
    properties = properties_of(settings)
    if not properties:
        return
    bus = connect(user=bool(unit["user"]))
    try:
        bus.call(MANAGER, "SetUnitProperties", "sba(sv)", unit["unit"], True, properties)
    finally:
        bus.close()


def listen(bus: Connection) -> None:
    """Have the ends of jobs told."""
    if not bus.direct:
        bus.call(BUS, "AddMatch", "s", f"type='signal',interface='{MANAGER[2]}',member='JobRemoved'")
    bus.call(MANAGER, "Subscribe")


def finish(bus: Connection, job: str, unit: str, verb: str) -> None:
    """Wait for the end of a job. Errors: FailedPrecondition when it was not done."""
    result = bus.wait("JobRemoved", lambda body: body[1] == job)[3]
    if result != "done":
        raise FailedPrecondition(
            f"systemd could not {verb} {unit}: {result}", hint=f"see journalctl --unit {unit}"
        )
