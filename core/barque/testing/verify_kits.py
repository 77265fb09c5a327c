"""A conformance kit's subclass for a driver that is found by name: what `barque plugin verify` runs.

A driver whose instances have `conformance_excuses`, a mapping from tests of the kit to reasons, is excused from those.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from barque.plugins.configs import build_config
from barque.plugins.discovery import find, load_class
from barque.plugins.kinds import Kind, kind_named
from barque.profiles.loading import load_profile
from barque.spi.errors import InvalidArgument, NotFound, NotImplemented

__all__ = ["Subject", "kit_class", "option_value", "subject_named"]

_AS_ROOT = ("runtime", "network", "storage", "volume")


@dataclass(frozen=True)
class Subject:
    """A driver with its options. `name` is that of the instance; `label` what a table calls it: `crun`, `runc (path=crun)`."""

    kind: str
    name: str
    driver: str
    options: Mapping[str, Any]
    label: str
    reference: str = ""

    @property
    def needs_root(self) -> bool:
        """Whether its kit does."""
        return self.kind in _AS_ROOT

    def make(self, root: Path) -> Any:
        """An instance; `root` is a directory for drivers that have one. Errors: those of find, import and options."""
        kind = kind_named(self.kind)
        cls = load_class(find(kind, self.driver))
        config = build_config(cls, self.options, f"{self.kind}.{self.name}")
        return cls(self.name, config, str(root)) if kind.rooted else cls(self.name, config)


def subject_named(
    target: str, options: Mapping[str, Any], *, profile: str = "", reference: str = ""
) -> Subject:
    """`KIND:NAME` as a driver with its default options, or (`profile`) as an instance with those of a profile.

    Errors: InvalidArgument, NotFound, and NotImplemented for a kind without a kit.
    """
    kind_name, separator, name = target.partition(":")
    if not (separator and name):
        raise InvalidArgument(f"{target!r} is no driver", hint="say KIND:NAME, as in runtime:native")
    kind = kind_named(kind_name)
    if kind.name not in _KITS:
        raise NotImplemented(
            f"there is no conformance kit for kind {kind.name}", hint=f"there is for {_known()}"
        )
    if kind.name == "image" and not reference:
        raise InvalidArgument("the image kit needs a small image to fetch", hint="say --reference NAME[:TAG]")
    text = ", ".join(f"{key}={value}" for key, value in options.items())
    label = f"{name} ({text})" if text else name
    driver, settings = _of_profile(kind, name, profile) if profile else (name, {})
    find(kind, driver)
    return Subject(kind.name, name, driver, {**settings, **options}, label, reference)


def _of_profile(kind: Kind, name: str, profile: str) -> tuple[str, Mapping[str, Any]]:
    """The driver of instance `name`, and its options."""
    instances = load_profile(profile).section(kind.name).instances
    if name not in instances:
        known = ", ".join(sorted(instances)) or "none"
        raise NotFound(f"profile {profile} has no {kind.name}.{name}", hint=f"it has {known}")
    return instances[name].driver, instances[name].options


def option_value(text: str) -> Any:
    """What `--set key=TEXT` means: a TOML value, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def kit_class(subject: Subject) -> type:
    """The kit's class for `subject`, named for pytest to collect."""
    base, fixtures = _KITS[subject.kind](subject)
    with tempfile.TemporaryDirectory(prefix="barque-verify-") as root:
        driver = subject.make(Path(root))
        excused = dict(getattr(driver, "conformance_excuses", {}))
        close = getattr(driver, "close", None)
        if close is not None:
            close()
    return type("TestDriver", (base,), {**fixtures, "excused": excused})


def _runtime(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.runtime import RuntimeConformance

    return RuntimeConformance, {"driver": _driver_fixture(subject)}


def _network(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.network import NetworkConformance

    def factory(self: Any, tmp_path: Path) -> Any:  # noqa: ARG001
        return lambda: subject.make(tmp_path)

    return NetworkConformance, {"factory": pytest.fixture(factory)}


def _storage(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.storage import StorageConformance

    return StorageConformance, {"driver": _driver_fixture(subject)}


def _image(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.image import ImageConformance

    def reference(self: Any) -> str:  # noqa: ARG001
        return subject.reference

    def driver(self: Any, tmp_path: Path) -> Any:  # noqa: ARG001
        root = tmp_path / "driver"
        root.mkdir(mode=0o700)
        return subject.make(root)

    return ImageConformance, {"driver": pytest.fixture(driver), "reference": pytest.fixture(reference)}


def _log(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.log import LogConformance

    return LogConformance, {"driver": _driver_fixture(subject)}


def _volume(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.volume import VolumeConformance

    def driver(self: Any, tmp_path: Path) -> Any:  # noqa: ARG001
        root = tmp_path / "driver"
        root.mkdir(mode=0o700)
        return subject.make(root)

    return VolumeConformance, {"driver": pytest.fixture(driver)}


def _authorization(subject: Subject) -> tuple[type, dict[str, Any]]:
    from barque.testing.authorization import AuthorizationConformance

    return AuthorizationConformance, {"driver": _driver_fixture(subject)}


def _driver_fixture(subject: Subject) -> Any:
    def driver(self: Any, tmp_path: Path) -> Any:  # noqa: ARG001
        return subject.make(tmp_path / "driver")

    return pytest.fixture(driver)


_KITS = {
    "runtime": _runtime,
    "network": _network,
    "storage": _storage,
    "image": _image,
    "log": _log,
    "volume": _volume,
    "authorization": _authorization,
}


def _known() -> str:
    return ", ".join(_KITS)
