"""Where an ordinary user's containers have their state when no --root is given."""

from __future__ import annotations

import os
import stat

from barque.spi.errors import PermissionDenied

NAME = "barque-runtime"


def rootless_root(otherwise: str) -> str:
    """$XDG_RUNTIME_DIR/barque-runtime, else /tmp/barque-runtime-UID.

    Root of a user namespace is an ordinary user outside, unless its login says otherwise ($USER is root) or it has no
    such directory: then `otherwise`.

    In /tmp anybody could have made a directory of that name: it is made 0700 here, and believed only when it is a
    directory of this user's that nobody else may write to. Errors: PermissionDenied.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 and (not runtime or os.environ.get("USER") == "root"):
        return otherwise
    if runtime.startswith("/"):
        return f"{runtime}/{NAME}"
    path = f"/tmp/{NAME}-{os.geteuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        status = os.lstat(path)
        private = not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or not private:
            raise PermissionDenied(
                f"{path} is not a private directory of this user", hint="set XDG_RUNTIME_DIR, or give --root"
            ) from None
    return path
