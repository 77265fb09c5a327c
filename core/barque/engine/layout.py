"""Where everything lies: the data root (survives a reboot) and the run directory (does not have to)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """All directories are 0700: an unprivileged user cannot traverse them (row S34)."""

    root: Path
    run: Path

    @property
    def database(self) -> Path:
        return self.root / "barque.db"

    @property
    def content(self) -> Path:
        return self.root / "content"

    def driver(self, kind: str, name: str) -> Path:
        """A directory that belongs to one storage or image driver."""
        return self.root / kind / name

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    def container(self, id: str) -> Path:
        """What outlives a reboot of one container: /etc files, log, shim socket, exit file."""
        return self.containers / id

    @property
    def bundles(self) -> Path:
        return self.run / "containers"

    def bundle(self, id: str) -> Path:
        """The OCI bundle of one running container."""
        return self.bundles / id

    @property
    def events(self) -> Path:
        """The journal of events."""
        return self.run / "events"

    def runtime(self, name: str) -> Path:
        """The state directory of one runtime driver."""
        return self.run / "runtime" / name

    def in_use(self) -> bool:
        """Whether there are containers or images, as the directories tell."""
        places = (self.containers, self.content / "blobs" / "sha256")
        return any(place.is_dir() and any(place.iterdir()) for place in places)

    def make(self) -> None:
        """Create what is missing. Idempotent."""
        for path in (self.root, self.run, self.content, self.containers, self.bundles, self.run / "runtime"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (self.root, self.run / "runtime", self.bundles):
            os.chmod(path, 0o700)
