"""What runc and crun say, as errors of the contract, in Docker's (which are runc's) words."""

from __future__ import annotations

import json
import re

from barque.spi.errors import (
    AlreadyExists,
    BarqueError,
    Conflict,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

__all__ = ["failure", "unknown_container"]

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_PREFIX = "unable to start container process: "
_NEEDS_SYS_RESOURCE = "raising it needs CAP_SYS_RESOURCE, which this process does not have"


def unknown_container(id: str) -> NotFound:
    """The error for an id that nobody knows."""
    return NotFound(f"container does not exist: {id}")


def failure(log: bytes, output: bytes, status: int, verb: str, id: str, program: str) -> BarqueError:
    """The error behind a call that ended with `status`: from the runtime's JSON log, or what it printed."""
    message = _errors(log) or output.decode("utf-8", "replace").strip()[-2000:]
    if not message:
        how = f"signal {status - 128}" if status > 128 else f"exit code {status}"
        return Internal(f"the OCI runtime ended in {verb} with {how} and no message")
    return (
        _program_failure(message, program)
        or _state_failure(message, verb, id)
        or _host_failure(message, verb)
    )


def _errors(log: bytes) -> str:
    """All errors in the log; runc's last one may only tell that an earlier step, which has logged too, has failed."""
    messages = []
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
            messages.append(str(entry.get("msg", "")))
    return "; ".join(messages)


# runc:  exec failed: unable to start container process: exec: "x": executable file not found in $PATH
_RUNC_EXEC = re.compile(r'exec: ".*": (?:.*: )?(?P<cause>[^:]+)$', re.DOTALL)
# crun:  executable file `x` not found in $PATH: No such file or directory  |  open executable: Permission denied
_CRUN_EXEC = re.compile(
    r"(?P<missing>^executable file `.*` not found)|^open executable: (?P<denied>\w.*)|^exec: (?P<exec>\w.*)",
    re.DOTALL,
)


def _program_failure(message: str, program: str) -> BarqueError | None:
    match = _RUNC_EXEC.search(message)
    if match:
        return _program_error(message[match.start() :], match["cause"])
    match = _CRUN_EXEC.search(message)
    if not match:
        return None
    if match["missing"]:
        cause = (
            f"stat {program}: no such file or directory"
            if "/" in program
            else "executable file not found in $PATH"
        )
    elif match["denied"]:
        cause = "permission denied"  # crun has EPERM, where runc has EACCES, for a directory
    else:
        cause = match["exec"].lower()
    return _program_error(f'exec: "{program}": {cause}', cause)


def _program_error(message: str, cause: str) -> BarqueError:
    if "not found" in cause or "no such file" in cause:
        return NotFound(_PREFIX + message, exit_code=_NOT_FOUND)
    return PermissionDenied(_PREFIX + message, exit_code=_NOT_EXECUTABLE)


_UNKNOWN = re.compile(r"container does not exist|error opening file `.*/status`|cannot open directory")
_EXISTS = re.compile(
    r"container with (?:given )?id (?:already )?exists|container `.*` already exists", re.IGNORECASE
)
_NOT_ALIVE = re.compile(
    r"container not running|^(?:kill container|open pidfd): No such process|container `.*` is not running"
)
_PAUSED = re.compile(r"container `.*` is paused")
_WRONG_STATE = re.compile(
    r"cannot (?:start|exec|delete|pause|resume) |is not in [^:]*state|^cannot open `.*/exec\.fifo`"
)


def _state_failure(message: str, verb: str, id: str) -> BarqueError | None:
    if _UNKNOWN.search(message):
        return unknown_container(id)
    if _EXISTS.search(message):
        return AlreadyExists(f"container with id exists: {id}")
    if _NOT_ALIVE.search(message):
        return (NotFound if verb == "kill" else Conflict)(f"container {id} is not running")
    if _WRONG_STATE.search(message) or _PAUSED.search(message):
        return Conflict(message)
    return None


_NO_ROOM = re.compile(
    r"no space left on device|cannot allocate memory|resource temporarily unavailable|too many open files|disk quota",
    re.IGNORECASE,
)
_DYING = re.compile(r"container init still running|container .* is still running")
_RAISES = re.compile(r"rlimit|oom_score_adj", re.IGNORECASE)
_DENIED = re.compile(r"permission denied|operation not permitted", re.IGNORECASE)
# runc: unable to set memory limit to 4096 (current usage: 2154496, …)  |  crun: writing file `memory.limit_in_bytes`: Device or resource busy
_IN_USE = re.compile(
    r"current usage: |`memory\.[^`]*`: Device or resource busy|memory\.\S*: device or resource busy"
)
_NO_CRIU = re.compile(
    r"unknown command (?:checkpoint|restore)|support for CRIU|criu binary|CRIU version|without CRIU|libcriu",
    re.IGNORECASE,
)
_BAD_IMAGE = re.compile(r"(?:descriptors\.json|inventory\.img)\b")
_BAD_VALUE = re.compile(r"invalid argument|numerical result out of range", re.IGNORECASE)
_BAD_SPEC = re.compile(
    r"chdir to cwd|error mounting|^mount `|invalid|unknown|not supported|unsupported|malformed|cannot unmarshal",
    re.IGNORECASE,
)


def _host_failure(message: str, verb: str) -> BarqueError:
    text = f"OCI runtime {verb} failed: {message}"
    if _DYING.search(message):
        return Unavailable(text, hint="its processes are killed, and wait to be reaped by their parent")
    if verb in ("checkpoint", "restore") and _NO_CRIU.search(message):
        return FailedPrecondition(text, hint="use runc with CRIU 3 or newer: apt install runc criu")
    if verb == "restore" and _BAD_IMAGE.search(message):
        return InvalidArgument(text, hint="the directory is not what a checkpoint has written")
    if verb == "update" and _IN_USE.search(message):
        return ResourceExhausted(text, hint="the container uses more than that now")
    if verb == "update" and _BAD_VALUE.search(message):
        return InvalidArgument(text)
    if _NO_ROOM.search(message):
        return ResourceExhausted(text)
    if _DENIED.search(message):
        return PermissionDenied(text, hint=_NEEDS_SYS_RESOURCE if _RAISES.search(message) else "")
    if _BAD_SPEC.search(message):
        return InvalidArgument(text)
    return Internal(text)
