"""Asking before something is removed."""

from __future__ import annotations

import sys

__all__ = ["confirmed"]


def confirmed(warning: str) -> bool:
    """Show the warning; whether the user answers yes. No answer is no."""
    sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    try:
        return sys.stdin.readline().strip().lower() == "y"
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return False
