"""Which devices a container may use: lists on cgroup v1 (Documentation/admin-guide/cgroup-v1/devices.rst), on v2 the
program of `device_program`."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

ANY = -1


class DeviceRule:
    """Allow or deny `access` (of "rwm") to devices; `kind` a is every device, `major` and `minor` may be ANY."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: str) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def describe(self) -> str:
        """One line for people."""
        return f"{'allow' if self.allow else 'deny'} device {self.text()}"

    def text(self) -> str:
        """The rule as v1 writes it; a bare `a` covers everything and forgets the exceptions made before."""
        if self.kind == "a":
            return "a"
        major, minor = ("*" if number == ANY else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


# What every container has, beyond what its configuration says: mknod of anything, and the devices of /dev.
ALWAYS = (
    DeviceRule(True, "c", ANY, ANY, "m"),
    DeviceRule(True, "b", ANY, ANY, "m"),
    *(DeviceRule(True, "c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule(True, "c", 5, minor, "rwm") for minor in (0, 1, 2)),
    DeviceRule(True, "c", 136, ANY, "rwm"),
    DeviceRule(True, "c", 10, 200, "rwm"),
)


def plan_device_rules(resources: Section) -> list[DeviceRule]:
    """The rules of `resources.devices` and then ALWAYS; none at all when the configuration has none."""
    rules = [read_rule(section) for section in resources.sections("devices")]
    return [*rules, *ALWAYS] if rules else []


def read_rule(section: Section) -> DeviceRule:
    """One entry of `resources.devices`."""
    kind = section.text("type") or "a"
    access = section.text("access") or "rwm"
    if kind not in ("a", "b", "c") or not set(access) <= set("rwm"):
        raise InvalidArgument(f"{section.name}: type must be a, b or c and access of r, w, m")
    major, minor = (section.integer(key, -1, 2**32 - 1) for key in ("major", "minor"))
    major, minor = (ANY if major is None else major), (ANY if minor is None else minor)
    if kind == "a" and ((major, minor) != (ANY, ANY) or set(access) != set("rwm")):
        raise InvalidArgument(f"{section.name}: a rule for type a must cover every device and access")
    return DeviceRule(section.boolean("allow"), kind, major, minor, access)


def write_v1(directory: str, rules: list[DeviceRule]) -> None:
    """Write the rules, in order, into the lists of a v1 cgroup."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    deny = os.open(f"{directory}/devices.deny", flags)
    try:
        allow = os.open(f"{directory}/devices.allow", flags)
        try:
            for rule in rules:
                os.write(allow if rule.allow else deny, rule.text().encode())
        finally:
            os.close(allow)
    finally:
        os.close(deny)
