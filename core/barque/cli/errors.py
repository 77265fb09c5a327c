"""What ends a command early.

CliError
├── UsageError         the command line is wrong; printed with the command's usage
├── DaemonError        the daemon answered with an error
└── DaemonUnavailable  no daemon answers at the address
"""

from __future__ import annotations

__all__ = ["CliError", "DaemonError", "DaemonUnavailable", "Exit", "UsageError"]


class CliError(Exception):
    """A command failed. `message` is for the user as it is; `hint`, when there is one, names the remedy.

    `exit_code` None leaves the code to the command: 125 for `run` and `exec`-like commands, 1 elsewhere.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class UsageError(CliError):
    """A flag or an argument is wrong. `arguments`: their number is wrong (exit 1), else a flag is (exit 125)."""

    def __init__(self, message: str, *, arguments: bool = False) -> None:
        super().__init__(message, exit_code=1 if arguments else 125)
        self.arguments = arguments


class DaemonError(CliError):
    """The daemon refused: `status` is the HTTP status, `reason` its message."""

    def __init__(self, status: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"Error response from daemon: {reason}", hint=hint)
        self.status = status
        self.reason = reason


class DaemonUnavailable(CliError):
    """Nothing answers at the daemon's address, or the connection broke."""


class Exit(Exception):
    """End with this exit code; everything worth saying has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
