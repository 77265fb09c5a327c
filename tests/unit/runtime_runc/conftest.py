"""The fake runtime as fixtures: `fake`, a `driver` that calls it, and requests to create."""

from __future__ import annotations

import pytest
from runc_fake import SPEC, Fake

from barque.spi.runtime import RuntimeCreate, Stdio
from barque_runtime_runc.plugin import RuncRuntime


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "fake").mkdir()
    return Fake(tmp_path / "fake")


@pytest.fixture
def driver(fake):
    return RuncRuntime("runc", RuncRuntime.Config(path=fake.path, arguments=("--debug",), timeout=20))


@pytest.fixture
def request_of(tmp_path):
    def make(spec=SPEC, id="c1", stdio=True):
        bundle = tmp_path / f"bundle-{id}"
        bundle.mkdir(mode=0o700, exist_ok=True)
        return RuntimeCreate(id, str(bundle), str(tmp_path / "root"), spec, Stdio(0, 1, 2) if stdio else None)

    return make
