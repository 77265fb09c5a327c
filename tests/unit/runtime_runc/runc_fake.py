"""The program `fake_runtime.py` in the place of a runtime."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

SPEC = {"process": {"args": ["true"], "terminal": False}, "linux": {"cgroupsPath": "/barque-unit/none"}}


class Fake:
    """The fake runtime in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "fake-runtime")
        program = Path(__file__).with_name("fake_runtime.py").read_text()
        Path(self.path).write_text(program.replace("/usr/bin/env python3", sys.executable))
        os.chmod(self.path, 0o755)
        self.directory = directory
        self.behave()

    def behave(self, **behaviour) -> None:
        (self.directory / "behaviour").write_text(json.dumps(behaviour))

    def calls(self) -> list[dict]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
