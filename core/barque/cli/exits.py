"""Exit codes of a process that could not be started, as shells and Docker have them."""

from __future__ import annotations

__all__ = ["start_failure_code"]

_NOT_FOUND = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "is a directory")


def start_failure_code(message: str) -> int:
    """127 when the command does not exist, 126 when it cannot be executed, 125 when the engine is at fault."""
    lower = message.lower()
    if any(words in lower for words in _NOT_FOUND):
        return 127
    return 126 if any(words in lower for words in _NOT_EXECUTABLE) else 125
