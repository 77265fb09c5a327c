"""The closed tree of errors: what a driver may raise and what a user may see.

    BarqueError
    ├── InvalidArgument      400   the request is wrong in itself
    ├── PermissionDenied     403   policy, or the kernel, says no
    ├── NotFound             404
    ├── AlreadyExists        409
    ├── Conflict             409   the object is in a state that forbids it
    ├── FailedPrecondition   412   the host lacks something
    ├── ResourceExhausted    507   disk, memory, addresses, pids
    ├── NotImplemented       501
    ├── Unavailable          503   try again later; a peer does not answer
    └── Internal             500   a defect of ours or of a plugin

Nothing else crosses the plugin boundary: the façade wraps any other exception in `Internal`
with the plugin's name and the cause. `to_wire` and `from_wire` carry an error over the shim's socket.
"""

from __future__ import annotations

# Not typing.TYPE_CHECKING: barque-runtime imports this module on every call, and `typing` costs it 5 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar

__all__ = [
    "AlreadyExists",
    "BarqueError",
    "Conflict",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "NotImplemented",
    "PermissionDenied",
    "ResourceExhausted",
    "Unavailable",
    "from_wire",
]


class BarqueError(Exception):
    """An error with a message for the user, a remedy, and what HTTP and a shell make of it.

    `hint` is the remedy, one sentence, or empty. `exit_code` is what `docker run` would exit
    with (125 engine, 126 not executable, 127 not found). `status` is the HTTP status.
    """

    status: ClassVar[int] = 500
    default_exit_code: ClassVar[int] = 125

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = self.default_exit_code if exit_code is None else exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_wire(self) -> dict[str, Any]:
        """This error as a JSON object."""
        return {
            "class": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class InvalidArgument(BarqueError):
    """The request names a value that can never work; the message names the field."""

    status = 400


class PermissionDenied(BarqueError):
    """A policy or the kernel refused; the message says which."""

    status = 403


class NotFound(BarqueError):
    """The named object does not exist."""

    status = 404


class AlreadyExists(BarqueError):
    """An object of that name or id exists."""

    status = 409


class Conflict(BarqueError):
    """The object is in a state that does not allow the operation."""

    status = 409


class FailedPrecondition(BarqueError):
    """The host lacks something the operation needs; the hint says how to get it."""

    status = 412


class ResourceExhausted(BarqueError):
    """No space, memory, address, port or process slot left; the message says which."""

    status = 507


class NotImplemented(BarqueError):
    """Barque, or this driver, does not do that."""

    status = 501


class Unavailable(BarqueError):
    """Something needed does not answer now; the same call may succeed later."""

    status = 503


class Internal(BarqueError):
    """A defect: of the engine, or of the plugin the message names."""

    status = 500


_CLASSES: dict[str, type[BarqueError]] = {
    cls.__name__: cls
    for cls in (
        InvalidArgument, PermissionDenied, NotFound, AlreadyExists, Conflict, FailedPrecondition,
        ResourceExhausted, NotImplemented, Unavailable, Internal,
    )
}  # fmt: skip


def from_wire(document: Mapping[str, Any]) -> BarqueError:
    """The error that `BarqueError.to_wire` described; an unknown class becomes `Internal`."""
    cls = _CLASSES.get(str(document.get("class")), Internal)
    code = document.get("exit_code")
    return cls(
        str(document.get("message", "unknown error")),
        hint=str(document.get("hint", "")),
        exit_code=code if isinstance(code, int) else None,
    )
