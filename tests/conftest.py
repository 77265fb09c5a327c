"""Markers and options that every test knows. The machinery is in `barque.testing`."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: needs root; skipped with a reason for other users")
    config.addinivalue_line("markers", "row(name): the row of ACCEPTANCE.md that the test covers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
