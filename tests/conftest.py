"""Markers, options and the leak check of every test: see `barque.testing.pytest_plugin`."""

pytest_plugins = ["barque.testing.pytest_plugin"]
