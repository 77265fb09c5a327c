"""New limits for a container that has its cgroup: all of them, or on an error the old ones."""

from __future__ import annotations

from barque.spi.errors import BarqueError, Conflict, InvalidArgument, ResourceExhausted
from barque_runtime_native.cgroup.layout import Layout, current_layout, read_text
from barque_runtime_native.cgroup.setting import Setting, apply
from barque_runtime_native.cgroup.settings import plan_settings
from barque_runtime_native.spec import Section
from barque_runtime_native.state import CREATED, RUNNING, Store, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAME = "linux.resources"


def update(container: str, root: str, resources: Mapping[str, Any]) -> None:
    """Change what `resources` sets, but not device rules. Errors: as `runtime_update` says."""
    store = Store(root, container)
    document = store.read()
    status, _ = status_of(store, document)
    if status not in (CREATED, RUNNING):
        raise Conflict("container not running", hint=f"container {container} is {status}")
    change = Change(document, Section(resources, NAME))
    change.execute()


class Change:
    """One update, planned against the limits of now."""

    def __init__(self, document: Mapping[str, Any], resources: Section) -> None:
        self.unit = document.get("systemd")
        self.layout = layout_of(document)
        self.directories = self.layout.directories(document["cgroups"])
        if self.layout.unified and self.directories:
            check_before_update(resources.section("memory"), self.directories[""])
            resources = Section(completed(resources.values, self.directories[""]), NAME)
        self.settings = [
            *plan_settings(resources, self.layout),
            *self._oom_killer(resources.section("memory")),
        ]
        self._check()

    def _oom_killer(self, memory: Section) -> list[Setting]:
        """`false` says nothing of a new container, but here it turns the OOM killer on again."""
        if self.layout.unified or not memory.has("disableOOMKiller") or memory.boolean("disableOOMKiller"):
            return []
        return [Setting("memory", "memory.oom_control", 0, memory.path("disableOOMKiller"))]

    def _check(self) -> None:
        limits = [setting for setting in self.settings if not setting.unlimited()]
        if limits and not self.directories:
            from barque_runtime_native.cgroup.missing import missing

            raise missing(limits[0].field, limits[0].controller, self.layout, rootless=True)
        if self.layout.unified and self.directories:
            from barque_runtime_native.cgroup.unified import provide

            provide(self.directories[""], self.settings, self.layout, rootless=self.layout.rootless)

    def execute(self) -> None:
        """Write all. Errors: of the first value that the kernel refuses, with the old ones in force again."""
        if not self.directories:
            return
        before = [each.inverse(self._directory_of(each.controller)) for each in self.settings]
        old = [each for each in reversed(before) if each]
        try:
            apply(self.settings, self._directory_of)
            self._tell_systemd()
        except BarqueError as error:
            try:
                apply(old, self._directory_of)
            except BarqueError as second:
                raise type(error)(
                    f"{error.message}; and the old value could not be restored: {second.message}",
                    hint=error.hint,
                ) from error
            raise

    def _tell_systemd(self) -> None:
        if self.unit:
            # Imported with systemd's cgroup driver only.
            from barque_runtime_native.cgroup.systemd import set_limits

            set_limits(self.unit, self.settings)

    def _directory_of(self, controller: str) -> str:
        return self.directories["" if self.layout.unified else controller]


def layout_of(document: Mapping[str, Any]) -> Layout:
    """The hierarchies in which the container has a cgroup."""
    layout = current_layout()
    cgroups = document["cgroups"]
    if len(cgroups) == len(layout.hierarchies):
        return layout
    return layout.only(
        {
            each.name
            for each in layout.hierarchies
            if any(directory.startswith(each.mountpoint + "/") for directory in cgroups)
        }
    )


def check_before_update(memory: Section, directory: str) -> None:
    """`checkBeforeUpdate`: v2 meets a limit below the usage by killing. (v1 refuses such a limit itself.)"""
    limit = memory.integer("limit", -1) or 0
    if not memory.boolean("checkBeforeUpdate") or limit <= 0:
        return
    usage = int(read_text(f"{directory}/memory.current"))
    if limit < usage:
        raise ResourceExhausted(f"{memory.path('limit')}: rejecting memory limit {limit} < usage {usage}")


def completed(values: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The values with what v2 writes together, from the files of now: swap needs the limit of memory, to be
    taken off; a quota and its period are one file."""
    done = dict(values)
    reads = (
        ("memory", "swap", "limit", "memory.max", 0),
        ("cpu", "period", "quota", "cpu.max", 0),
        ("cpu", "quota", "period", "cpu.max", 1),
    )
    for group, key, other, file, index in reads:
        section = done.get(group)
        if not isinstance(section, dict) or not section.get(key) or section.get(other):
            continue
        try:
            word = read_text(f"{directory}/{file}").split()[index]
        except FileNotFoundError:
            continue
        if word.isdigit():
            done[group] = {**section, other: int(word)}
    return done


def size(text: str, name: str) -> int:
    """Bytes from runc's notation of sizes: `64m`, `1.5GiB`, `-1`. Errors: InvalidArgument that names `name`."""
    if text == "-1":
        return -1
    word = text.strip().lower().removesuffix("b").removesuffix("i")
    factor = 1
    if word[-1:] in tuple("kmgtp"):
        factor = 1024 ** ("kmgtp".index(word[-1]) + 1)
        word = word[:-1].rstrip()
    whole, _, part = word.partition(".")
    if not word.isascii() or not whole.isdigit() or (part and not part.isdigit()) or len(word) > 30:
        raise InvalidArgument(f"invalid value for {name}: invalid size: {text!r}")
    return int(float(word) * factor) if part else int(whole) * factor
