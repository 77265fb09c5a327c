"""The versions of the Docker Engine API we speak."""

from __future__ import annotations

__all__ = ["API_VERSION", "MIN_API_VERSION"]

API_VERSION = (1, 51)
MIN_API_VERSION = (1, 24)
