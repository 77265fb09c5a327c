"""What a profile may say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Images", "Instance", "Profile", "Rootless", "Section"]


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
        instances = {}
        for name, table in document.items():
            if name == "default":
                continue
            if not isinstance(table, dict):
                raise ValueError(f"{name!r} is not a table of options; write [<kind>.{name}]")
            options = dict(table)
            instances[name] = {"driver": options.pop("driver", name), "options": options}
        return {"default": document.get("default"), "instances": instances}

    @model_validator(mode="after")
    def _default_exists(self) -> Section:
        if self.default not in self.instances:
            known = ", ".join(sorted(self.instances)) or "none"
            raise ValueError(f"default = {self.default!r} names no table here (there are: {known})")
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


class Profile(BaseModel):
    """A whole profile. `name` is that of its file. `rootless`: the engine runs as an ordinary user, in his namespaces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    rootless: Rootless | None = None
    images: Images = Images()
    runtime: Section
    network: Section
    storage: Section
    image: Section
    log: Section
    frontend: Section

    def section(self, kind: str) -> Section:
        """The section of `kind`."""
        section: Section = getattr(self, kind)
        return section
