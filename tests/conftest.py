"""Markers, options and the leak check of every test: see `barque.testing.pytest_plugin`."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["barque.testing.pytest_plugin"]

# Three workers on two processors: how long an example takes says nothing.
settings.register_profile("barque", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("barque")
