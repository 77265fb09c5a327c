"""Files of the user's that are written whole or not at all, and for him only."""

from __future__ import annotations

import os

from barque.cli.errors import CliError

__all__ = ["save"]


def save(path: str, content: bytes) -> None:
    """Write the file, durably, and make its directory when there is none. A link to a file stays one. Errors: CliError."""
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            os.rename(temporary, target)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CliError(f"error saving {path}: {error.strerror}") from error
