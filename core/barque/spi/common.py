"""Types that several kinds of driver share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Descriptor", "Mount", "Platform", "Probe", "Problem", "Progress", "ProgressSink"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a driver lacks on this host (`what`), and the `remedy`. `fatal`: nothing of it works."""

    what: str
    remedy: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a driver's `*_probe` hook: problems found, and facts worth showing (name -> value)."""

    problems: tuple[Problem, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """True when no problem is fatal."""
        return not any(problem.fatal for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount, in the words of mount(8): `type` (overlay, bind, tmpfs…), `source`, `options`.

    `target` is a path below the root that is being built; empty means that root itself.
    """

    type: str
    source: str
    options: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True, slots=True)
class Platform:
    """os/architecture/variant of an image (OCI image-spec, image index)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """OCI content descriptor: media type, digest (`sha256:<64 hex>`), size in bytes, annotations."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """One progress line. `id` names the layer or step (empty: the whole), `status` is Docker's word for
    the phase ("Pulling fs layer", "Downloading", "Extracting", "Pull complete" …), bytes where known."""

    id: str
    status: str
    current: int = 0
    total: int = 0


ProgressSink = Callable[[Progress], None]
