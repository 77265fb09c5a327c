"""The flags before the command."""

from __future__ import annotations

from barque.cli.flags import flag, repeated, text

__all__ = ["GLOBAL_OPTIONS"]

GLOBAL_OPTIONS = (
    repeated("host", "Daemon socket to connect to (also BARQUE_HOST, DOCKER_HOST)", short="H"),
    text("profile", "Engine profile of a daemon that has to be started (also BARQUE_PROFILE)"),
    flag("version", "Print version information and quit", short="v"),
)
