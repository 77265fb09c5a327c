"""One launcher a module; every container of a test ends with the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shim_harness import Machine


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()
