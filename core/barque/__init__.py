"""Barque: a container engine in Python. Docker's job, Docker's API, and every layer a plugin."""

__version__ = "0.1.0"
