"""What a profile may say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from barque.profiles.quantities import parse_age, parse_size

__all__ = [
    "AuthorizationSection",
    "Images",
    "Instance",
    "NetworkSection",
    "Profile",
    "Rootless",
    "Section",
    "StorageSection",
]


class Instance(BaseModel):
    """One configured driver: `driver` is its entry-point name (by default the instance's own), the rest its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    driver: str
    options: dict[str, Any] = Field(default_factory=dict)


class Section(BaseModel):
    """All drivers of one kind; `default` names the instance used when nobody asks for another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    instances: dict[str, Instance]

    @model_validator(mode="before")
    @classmethod
    def _split(cls, document: Any) -> Any:
        """`{default = "a", a = {driver = "x", k = 1}}` -> default and instances."""
        if not isinstance(document, dict) or "instances" in document:
            return document
        if isinstance(document.get("default"), list):
            raise ValueError("default is one name; only [storage] may have a list of them")
        return {"default": document.get("default"), "instances": _instances(document)}

    @model_validator(mode="after")
    def _default_exists(self) -> Section:
        if self.default not in self.instances:
            known = ", ".join(sorted(self.instances)) or "none"
            raise ValueError(f"default = {self.default!r} names no table here (there are: {known})")
        return self


def _instances(document: dict[Any, Any]) -> dict[str, Any]:
    """The tables of a section."""
    instances = {}
    for name, table in document.items():
        if name == "default":
            continue
        if not isinstance(table, dict):
            raise ValueError(f"{name!r} is not a table of options; write [<kind>.{name}]")
        options = dict(table)
        instances[name] = {"driver": options.pop("driver", name), "options": options}
    return instances


class StorageSection(Section):
    """Storage drivers. `candidates`: what `default` lists, in this order of preference; `default` is the first of them."""

    candidates: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _list(cls, document: Any) -> Any:
        """`default = ["a", "b"]` -> default a, candidates a and b."""
        if not isinstance(document, dict) or "instances" in document:
            return document
        given = document.get("default")
        candidates = given if isinstance(given, list) else [given]
        if not candidates or len({str(name) for name in candidates}) < len(candidates):
            raise ValueError(f"default = {given!r} is no list of different names")
        return {"default": candidates[0], "candidates": candidates, "instances": _instances(document)}

    @model_validator(mode="after")
    def _candidates_exist(self) -> StorageSection:
        for name in self.candidates:
            if name not in self.instances:
                known = ", ".join(sorted(self.instances)) or "none"
                raise ValueError(f"default names {name!r}, which is no table here (there are: {known})")
        return self


class NetworkSection(Section):
    """Network drivers. `predefined`: the instances that have one network each, called like them, which always exists; without the
    key all of them."""

    predefined: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _names(cls, document: Any) -> Any:
        if not isinstance(document, dict) or "instances" in document:
            return document
        tables = {name: table for name, table in document.items() if name not in ("default", "predefined")}
        predefined = document.get("predefined", list(tables))
        return {
            "default": document.get("default"),
            "predefined": predefined,
            "instances": _instances(tables),
        }

    @model_validator(mode="after")
    def _predefined_exist(self) -> NetworkSection:
        for name in self.predefined:
            if name not in self.instances:
                raise ValueError(f"predefined names {name!r}, which is no table here")
        if self.default not in self.predefined:
            raise ValueError(f"default = {self.default!r} is not among predefined")
        return self


class AuthorizationSection(Section):
    """Authorization drivers: all of them are asked, in the order they are written. There is no default, and there may be none."""

    default: str = ""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, document: Any) -> Any:
        if not isinstance(document, dict) or "instances" in document:
            return document
        return {"instances": _instances(document)}

    @model_validator(mode="after")
    def _default_exists(self) -> AuthorizationSection:
        if self.default:
            raise ValueError("authorization has no default: all its drivers are asked")
        return self


class Rootless(BaseModel):
    """The table that makes a profile one for ordinary users.

    `uplink`: the program that connects containers with the world; `auto` is the first that is installed and works.
    `host_loopback`: the default gateway's address leads containers to what listens on the host's 127.0.0.1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uplink: Literal["auto", "pasta", "slirp4netns", "none"] = "auto"
    host_loopback: bool = False


class Images(BaseModel):
    """The table `[images]`: names and the store.

    `default_registry`: where names without a host lead; `docker.io` as Docker has it. `parallel_downloads`: layers of one pull
    at a time. `max_size`: bytes (or `20GB`) the content store and unpacked layers may take before unused images go, least recently used
    first; 0: no limit. `max_age`: unused images go after this time (`720h`); empty: never. `partial_max_age`: unfinished downloads are
    kept this long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_registry: str = "docker.io"
    parallel_downloads: int = Field(default=3, ge=1, le=64)
    max_size: int | str = 0
    max_age: str = ""
    partial_max_age: str = "168h"

    @field_validator("max_size")
    @classmethod
    def _is_size(cls, value: int | str) -> int | str:
        parse_size(value)
        return value

    @field_validator("max_age", "partial_max_age")
    @classmethod
    def _is_age(cls, value: str) -> str:
        parse_age(value)
        return value


class Profile(BaseModel):
    """A whole profile. `name` is that of its file. `rootless`: the engine runs as an ordinary user, in his namespaces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    rootless: Rootless | None = None
    images: Images = Images()
    runtime: Section
    network: NetworkSection
    storage: StorageSection
    image: Section
    volume: Section = Section(default="local", instances={"local": Instance(driver="local")})
    log: Section
    frontend: Section
    authorization: AuthorizationSection = AuthorizationSection(instances={})

    def section(self, kind: str) -> Section:
        """The section of `kind`."""
        section: Section = getattr(self, kind)
        return section
